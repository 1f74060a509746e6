// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Grid} from "../challenges/Grid.sol";

/// @title Server programs: a server rule as a straight line of integer operations, run on one coordinate
/// @notice The encoding and the arithmetic of `registry/rules/program.py`; `replay.py` runs the same on vectors.
/// Registers: q, the states, the parameters, four round scalars (step, contributions, total weight, total steps), then
/// one an operation. What is checked here is form, so that a program can be run at all. That its values stay below 2^62
/// is proved by whoever plans a round and by every reader; a program of which that is not so may revert here.
library Programs {
    uint256 internal constant MAX_STATES = 4;
    uint256 internal constant MAX_FRACTION_BITS = 48;
    uint256 internal constant MAX_PARAMETERS = 32;
    uint256 internal constant MAX_OPERATIONS = 64;
    uint256 internal constant MAX_SHIFT = 61;
    uint256 internal constant SCALARS = 4;
    /// @dev Bounds, initial values and parameters are below this in magnitude.
    int256 internal constant LIMIT = 1 << 62;
    /// @dev Values are below this in magnitude, so no product of two leaves 127 bits.
    int256 private constant BEYOND = 1 << 63;
    /// @dev Largest magnitude of d.
    int256 private constant STEP_LIMIT = 1 << 24;
    uint256 private constant STATE_BYTES = 24;
    uint256 private constant OPERATION_BYTES = 3;

    uint256 private constant ADD = 1;
    uint256 private constant SUB = 2;
    uint256 private constant MUL = 3;
    uint256 private constant NEG = 4;
    uint256 private constant ABS = 5;
    uint256 private constant SIGN = 6;
    uint256 private constant MIN = 7;
    uint256 private constant MAX = 8;
    uint256 private constant SHR = 9;
    uint256 private constant DIV = 10;
    uint256 private constant SQRT = 11;

    /// @notice The program has another length than its counts give.
    error BadProgramLength(uint256 length, uint256 expected);
    /// @notice The number at this byte of the program is not in low..high.
    error BadProgramNumber(uint256 offset, int256 number, int256 low, int256 high);
    /// @notice A result of 2^63 or more in magnitude.
    error ValueTooLarge(uint256 operation, int256 value);
    /// @notice A divisor below 1.
    error BadDivisor(uint256 operation, int256 divisor);
    /// @notice The root of a negative number.
    error BadRadicand(uint256 operation, int256 radicand);

    // ------------------------------------------------------------------------------------------------------------ form

    /// @notice Reverts unless the bytes are exactly the encoding of a program. Takes what `program.decode` takes.
    function requireValid(bytes calldata program) internal pure {
        uint256 count = _countAt(program, 0, MAX_STATES);
        uint256 offset = 1;
        for (; offset < 1 + STATE_BYTES * count; offset += STATE_BYTES) {
            _requireBounds(program, offset);
        }
        // slither-disable-next-line unused-return
        _countAt(program, offset++, MAX_FRACTION_BITS);
        uint256 parameters = _countAt(program, offset++, MAX_PARAMETERS);
        uint256 operations = _countAt(program, offset + 8 * parameters, MAX_OPERATIONS);
        uint256 end = offset + 8 * parameters + 1 + OPERATION_BYTES * operations + 1 + count;
        if (program.length != end) revert BadProgramLength(program.length, end);

        uint256 registers = 1 + count + parameters + SCALARS;
        for (; parameters > 0; --parameters) {
            _require(offset, _numberAt(program, offset), 1 - LIMIT, LIMIT - 1);
            offset += 8;
        }
        ++offset;
        for (; operations > 0; --operations) {
            _requireOperation(program, offset, registers++);
            offset += OPERATION_BYTES;
        }
        for (; offset < end; ++offset) {
            _requireCount(offset, _byteAt(program, offset), 0, registers - 1);
        }
    }

    function _requireBounds(bytes calldata program, uint256 offset) private pure {
        if (program.length < offset + STATE_BYTES) revert BadProgramLength(program.length, offset + STATE_BYTES);
        int256 lower = _numberAt(program, offset);
        int256 upper = _numberAt(program, offset + 8);
        _require(offset, lower, 1 - LIMIT, LIMIT - 1);
        _require(offset + 8, upper, lower, LIMIT - 1);
        _require(offset + 16, _numberAt(program, offset + 16), lower, upper);
    }

    function _requireOperation(bytes calldata program, uint256 offset, uint256 registers) private pure {
        (uint256 operation, uint256 a, uint256 b) = _operationAt(program, offset);
        _requireCount(offset, operation, ADD, SQRT);
        _requireCount(offset + 1, a, 0, registers - 1);
        if (operation == SHR) _requireCount(offset + 2, b, 1, MAX_SHIFT);
        else if (_isUnary(operation)) _requireCount(offset + 2, b, 0, 0);
        else _requireCount(offset + 2, b, 0, registers - 1);
    }

    function _isUnary(uint256 operation) private pure returns (bool) {
        return operation == NEG || operation == ABS || operation == SIGN || operation == SQRT;
    }

    function _countAt(bytes calldata program, uint256 offset, uint256 most) private pure returns (uint256 count) {
        if (program.length <= offset) revert BadProgramLength(program.length, offset + 1);
        count = _byteAt(program, offset);
        _requireCount(offset, count, 0, most);
    }

    function _requireCount(uint256 offset, uint256 count, uint256 low, uint256 high) private pure {
        if (count < low || count > high) revert BadProgramNumber(offset, int256(count), int256(low), int256(high));
    }

    function _require(uint256 offset, int256 number, int256 low, int256 high) private pure {
        if (number < low || number > high) revert BadProgramNumber(offset, number, low, high);
    }

    // ---------------------------------------------------------------------------------------------------------- layout
    // What follows is of programs that `requireValid` took.

    /// @notice How many states a coordinate has.
    function states(bytes calldata program) internal pure returns (uint256) {
        return _byteAt(program, 0);
    }

    /// @notice Bounds and initial values of the states, as the program has them: 24 bytes a state.
    function stateSection(bytes calldata program) internal pure returns (bytes calldata) {
        return program[1:1 + STATE_BYTES * states(program)];
    }

    /// @notice What a state saturates to, and what it is before the first round.
    function bounds(bytes calldata program, uint256 state)
        internal
        pure
        returns (int256 lower, int256 upper, int256 initial)
    {
        uint256 offset = 1 + STATE_BYTES * state;
        return (_numberAt(program, offset), _numberAt(program, offset + 8), _numberAt(program, offset + 16));
    }

    /// @notice f: d counts 2^-f grid steps.
    function fractionBits(bytes calldata program) internal pure returns (uint256) {
        return _byteAt(program, 1 + STATE_BYTES * states(program));
    }

    // ------------------------------------------------------------------------------------------------------------- run

    /// @notice The step and the new states of one coordinate.
    /// @param q The aggregate's grid integer, at most 2^24 in magnitude.
    /// @param state One number a state, within its bounds; a missing one panics, and no more than those are read.
    /// @param scalars Step, contributions, total weight, total steps.
    /// @return d Saturated to 2^24 in magnitude.
    /// @return next The new states, saturated to their bounds.
    function run(bytes calldata program, int256 q, int256[] memory state, int256[4] memory scalars)
        internal
        pure
        returns (int256 d, int256[] memory next)
    {
        // No sum of counts and offsets of a program of at most 553 bytes overflows.
        unchecked {
            uint256 count = states(program);
            uint256 offset = 2 + STATE_BYTES * count;
            int256[] memory registers;
            (registers, offset) = _inputs(program, offset, q, state, scalars);
            offset = _execute(program, offset, registers);
            d = _clamp(registers[_byteAt(program, offset)], -STEP_LIMIT, STEP_LIMIT);
            next = new int256[](count);
            for (uint256 i = 0; i < count; ++i) {
                (int256 lower, int256 upper,) = bounds(program, i);
                next[i] = _clamp(registers[_byteAt(program, ++offset)], lower, upper);
            }
        }
    }

    /// @dev All registers, those of the inputs filled in, and where the operations are counted.
    /// @param offset Where the parameters are counted.
    function _inputs(
        bytes calldata program,
        uint256 offset,
        int256 q,
        int256[] memory state,
        int256[4] memory scalars
    ) private pure returns (int256[] memory registers, uint256) {
        unchecked {
            uint256 parameters = _byteAt(program, offset++);
            uint256 end = offset + 8 * parameters;
            uint256 register = 1 + states(program);
            registers = new int256[](register + parameters + SCALARS + _byteAt(program, end));
            registers[0] = q;
            for (uint256 i = 1; i < register; ++i) {
                registers[i] = state[i - 1];
            }
            for (; offset < end; offset += 8) {
                registers[register++] = _numberAt(program, offset);
            }
            for (uint256 i = 0; i < SCALARS; ++i) {
                registers[register++] = scalars[i];
            }
            return (registers, end);
        }
    }

    /// @dev Fills in the registers of the operations, the last ones, and returns where the results' begin.
    /// @param offset Where the operations are counted.
    function _execute(bytes calldata program, uint256 offset, int256[] memory registers)
        private
        pure
        returns (uint256)
    {
        unchecked {
            uint256 count = _byteAt(program, offset++);
            uint256 first = registers.length - count;
            for (uint256 i = 0; i < count; ++i) {
                (uint256 operation, uint256 a, uint256 b) = _operationAt(program, offset);
                // A shift's b is a number of bits.
                int256 result = _apply(operation, registers[a], operation == SHR ? int256(b) : registers[b], i);
                if (result <= -BEYOND || result >= BEYOND) revert ValueTooLarge(i, result);
                registers[first + i] = result;
                offset += OPERATION_BYTES;
            }
            return offset;
        }
    }

    /// @dev Operands of less than 2^63 in magnitude give results of less than 2^127.
    function _apply(uint256 operation, int256 x, int256 y, uint256 i) private pure returns (int256) {
        unchecked {
            if (operation == ADD) return x + y;
            if (operation == SUB) return x - y;
            if (operation == MUL) return x * y;
            if (operation == DIV) {
                if (y < 1) revert BadDivisor(i, y);
                return Grid.mean(x, uint256(y));
            }
            if (operation == SHR) return x >> uint256(y); // towards minus infinity
            if (operation == SQRT) {
                if (x < 0) revert BadRadicand(i, x);
                // forge-lint: disable-next-line(unsafe-typecast)
                return int256(Math.sqrt(uint256(x)));
            }
            if (operation == MIN) return x < y ? x : y;
            if (operation == MAX) return x > y ? x : y;
            if (operation == NEG) return -x;
            if (operation == ABS) return x < 0 ? -x : x;
            return x > 0 ? int256(1) : x < 0 ? -1 : int256(0); // SIGN
        }
    }

    function _clamp(int256 x, int256 lower, int256 upper) private pure returns (int256) {
        return x < lower ? lower : x > upper ? upper : x;
    }

    // ----------------------------------------------------------------------------------------------------------- bytes

    // Read by calldataload, which checks no bounds: `requireValid` compares the length before it reads, and everything
    // else reads what it took. Slices and indexing would make a run three times as dear.

    function _byteAt(bytes calldata program, uint256 offset) private pure returns (uint256 value) {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            value := byte(0, calldataload(add(program.offset, offset)))
        }
    }

    /// @dev The i64 at this byte.
    function _numberAt(bytes calldata program, uint256 offset) private pure returns (int256 value) {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            value := sar(192, calldataload(add(program.offset, offset)))
        }
    }

    /// @dev The three bytes of the operation at this byte.
    function _operationAt(bytes calldata program, uint256 offset)
        private
        pure
        returns (uint256 operation, uint256 a, uint256 b)
    {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let word := calldataload(add(program.offset, offset))
            operation := byte(0, word)
            a := byte(1, word)
            b := byte(2, word)
        }
    }
}
