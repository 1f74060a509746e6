// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Programs} from "../../rules/Programs.sol";
import {ProgramsMock} from "../mocks/ProgramsMock.sol";
import {Test} from "../support/Test.sol";

/// @notice Cases derived by hand; `tests/rules/test_contract.py` holds the library against Python's integers.
contract ProgramsTest is Test {
    uint8 internal constant ADD = 1;
    uint8 internal constant SUB = 2;
    uint8 internal constant MUL = 3;
    uint8 internal constant NEG = 4;
    uint8 internal constant ABS = 5;
    uint8 internal constant SIGN = 6;
    uint8 internal constant MIN = 7;
    uint8 internal constant MAX = 8;
    uint8 internal constant SHR = 9;
    uint8 internal constant DIV = 10;
    uint8 internal constant SQRT = 11;
    int256 internal constant LIMIT = 1 << 62;
    int256 internal constant MOST = (1 << 62) - 1;
    int256 internal constant STEP_LIMIT = 1 << 24;

    ProgramsMock internal mock = new ProgramsMock();

    // -------------------------------------------------------------------------------------------------------- building

    function number(int256 x) internal pure returns (bytes memory) {
        return abi.encodePacked(int64(x));
    }

    function state(int256 lower, int256 upper, int256 initial) internal pure returns (bytes memory) {
        return bytes.concat(number(lower), number(upper), number(initial));
    }

    function numbers(int256 x, int256 y) internal pure returns (bytes memory) {
        return bytes.concat(number(x), number(y));
    }

    function op(uint8 kind, uint8 a, uint8 b) internal pure returns (bytes memory) {
        return abi.encodePacked(kind, a, b);
    }

    function build(bytes memory states, bytes memory parameters, bytes memory operations, bytes memory results)
        internal
        pure
        returns (bytes memory)
    {
        bytes memory head = bytes.concat(bytes1(uint8(states.length / 24)), states, hex"07");
        head = bytes.concat(head, bytes1(uint8(parameters.length / 8)), parameters);
        return bytes.concat(head, bytes1(uint8(operations.length / 3)), operations, results);
    }

    /// @dev One state, two parameters, three operations; q is 0, the state 1, the parameters 2 and 3, scalars 4 to 7.
    function sample() internal pure returns (bytes memory) {
        bytes memory operations = bytes.concat(op(MUL, 1, 2), op(ADD, 8, 0), op(SHR, 9, 3));
        return build(state(-1000, 1000, 5), numbers(3, -4), operations, hex"0a09");
    }

    /// @dev The registers of d and the states are the last operation's.
    function one(int256 x, int256 y, uint8 kind, uint8 b) internal pure returns (bytes memory) {
        return build(state(-MOST, MOST, 0), numbers(x, y), op(kind, 2, b), hex"0808");
    }

    function withByte(bytes memory program, uint256 offset, uint8 value) internal pure returns (bytes memory changed) {
        changed = bytes.concat(program);
        changed[offset] = bytes1(value);
    }

    function refuses(bytes memory program, bytes memory because) internal {
        vm.expectRevert(because);
        mock.requireValid(program);
    }

    function refusesNumber(bytes memory program, uint256 offset, int256 value, int256 low, int256 high) internal {
        refuses(program, abi.encodeWithSelector(Programs.BadProgramNumber.selector, offset, value, low, high));
    }

    // ---------------------------------------------------------------------------------------------------- requireValid

    function test_requireValid_takes_the_smallest_and_the_sample() public view {
        mock.requireValid(hex"0000000000");
        mock.requireValid(sample());
        same(sample().length, 1 + 24 + 1 + 1 + 16 + 1 + 9 + 2, "its length");
    }

    function test_requireValid_refuses_every_other_length() public {
        bytes memory program = sample();
        for (uint256 length = 0; length <= program.length + 1; ++length) {
            if (length == program.length) continue;
            bytes memory cut = new bytes(length);
            for (uint256 i = 0; i < length && i < program.length; ++i) {
                cut[i] = program[i];
            }
            // The first count past the end, or the end that the counts give.
            uint256 expected = length < 1 ? 1 : length < 25 ? 25 : length < 27 ? length + 1 : length < 44 ? 44 : 55;
            refuses(cut, abi.encodeWithSelector(Programs.BadProgramLength.selector, length, expected));
        }
    }

    function test_requireValid_bounds_every_count() public {
        bytes memory states;
        for (uint256 i = 0; i < 4; ++i) {
            states = bytes.concat(states, state(0, 0, 0));
        }
        bytes memory parameters = new bytes(32 * 8);
        bytes memory operations;
        for (uint256 i = 0; i < 64; ++i) {
            operations = bytes.concat(operations, op(ADD, uint8(40 + i), 0));
        }
        bytes memory largest = build(states, parameters, operations, hex"6800000000");
        same(largest.length, 553, "the longest");
        mock.requireValid(withByte(largest, 97, 48));
        refusesNumber(withByte(largest, 0, 5), 0, 5, 0, 4);
        refusesNumber(withByte(largest, 97, 49), 97, 49, 0, 48);
        refusesNumber(withByte(largest, 98, 33), 98, 33, 0, 32);
        refusesNumber(withByte(largest, 355, 65), 355, 65, 0, 64);
        refusesNumber(withByte(largest, 548, 105), 548, 105, 0, 104); // 1 + 4 + 32 + 4 + 64 registers
        refusesNumber(withByte(largest, 552, 255), 552, 255, 0, 104);
    }

    function stateOf(int256 lower, int256 upper, int256 initial) internal pure returns (bytes memory) {
        return build(state(lower, upper, initial), "", "", hex"0001");
    }

    function test_requireValid_bounds_states() public {
        mock.requireValid(stateOf(-MOST, MOST, -MOST));
        mock.requireValid(stateOf(-MOST, MOST, MOST));
        mock.requireValid(stateOf(7, 7, 7));
        refusesNumber(stateOf(-LIMIT, 0, 0), 1, -LIMIT, -MOST, MOST);
        refusesNumber(stateOf(LIMIT, MOST, 0), 1, LIMIT, -MOST, MOST);
        refusesNumber(stateOf(0, LIMIT, 0), 9, LIMIT, 0, MOST);
        refusesNumber(stateOf(0, -1, 0), 9, -1, 0, MOST);
        refusesNumber(stateOf(0, 5, 6), 17, 6, 0, 5);
        refusesNumber(stateOf(0, 5, -1), 17, -1, 0, 5);
        refusesNumber(stateOf(type(int64).min, 5, 0), 1, type(int64).min, -MOST, MOST);
    }

    function test_requireValid_bounds_parameters() public {
        mock.requireValid(build("", numbers(-MOST, MOST), "", hex"00"));
        refusesNumber(build("", numbers(-LIMIT, 0), "", hex"00"), 3, -LIMIT, -MOST, MOST);
        refusesNumber(build("", numbers(0, LIMIT), "", hex"00"), 11, LIMIT, -MOST, MOST);
        refusesNumber(build("", numbers(0, type(int64).min), "", hex"00"), 11, type(int64).min, -MOST, MOST);
    }

    function operation(bytes memory second) internal pure returns (bytes memory) {
        return build("", "", bytes.concat(op(ADD, 0, 4), second), hex"06");
    }

    function test_requireValid_reads_operations() public {
        uint8[6] memory binary = [ADD, SUB, MUL, MIN, MAX, DIV];
        for (uint256 i = 0; i < 6; ++i) {
            mock.requireValid(operation(op(binary[i], 5, 5)));
            refusesNumber(operation(op(binary[i], 6, 0)), 8, 6, 0, 5); // its own
            refusesNumber(operation(op(binary[i], 0, 6)), 9, 6, 0, 5);
            refusesNumber(operation(op(binary[i], 0, 255)), 9, 255, 0, 5);
        }
        uint8[4] memory unary = [NEG, ABS, SIGN, SQRT];
        for (uint256 i = 0; i < 4; ++i) {
            mock.requireValid(operation(op(unary[i], 5, 0)));
            refusesNumber(operation(op(unary[i], 6, 0)), 8, 6, 0, 5);
            refusesNumber(operation(op(unary[i], 5, 1)), 9, 1, 0, 0);
        }
        mock.requireValid(operation(op(SHR, 5, 1)));
        mock.requireValid(operation(op(SHR, 5, 61)));
        refusesNumber(operation(op(SHR, 5, 0)), 9, 0, 1, 61);
        refusesNumber(operation(op(SHR, 5, 62)), 9, 62, 1, 61);
        refusesNumber(operation(op(SHR, 6, 1)), 8, 6, 0, 5);
        refusesNumber(operation(op(0, 0, 0)), 7, 0, 1, 11);
        refusesNumber(operation(op(12, 0, 0)), 7, 12, 1, 11);
        refusesNumber(operation(op(255, 0, 0)), 7, 255, 1, 11);
    }

    function test_requireValid_bounds_the_registers_of_results() public {
        bytes memory program = sample();
        mock.requireValid(withByte(program, 53, 0));
        refusesNumber(withByte(program, 53, 11), 53, 11, 0, 10);
        refusesNumber(withByte(program, 54, 11), 54, 11, 0, 10);
    }

    function test_requireValid_never_lets_run_read_outside(bytes memory program, int256 q) public {
        // Whatever is valid runs or reverts with one of run's own errors: no panic.
        try mock.requireValid(program) {} catch { return; }
        runsOrSaysWhy(program, q);
    }

    function test_requireValid_of_changed_samples_never_lets_run_read_outside(uint256 offset, uint8 value, int256 q) public {
        bytes memory program = withByte(sample(), offset % sample().length, value);
        try mock.requireValid(program) {} catch { return; }
        runsOrSaysWhy(program, q);
    }

    function runsOrSaysWhy(bytes memory program, int256 q) internal view {
        (,, int256[3][] memory bounds) = mock.shapeOf(program);
        ProgramsMock.Case[] memory cases = new ProgramsMock.Case[](1);
        cases[0].program = program;
        cases[0].scalars = [int256(1), 1, 1, 0];
        (cases[0].q, cases[0].states) = (new int256[](1), new int256[][](1));
        cases[0].q[0] = q % (STEP_LIMIT + 1);
        cases[0].states[0] = new int256[](bounds.length);
        for (uint256 i = 0; i < bounds.length; ++i) {
            cases[0].states[0][i] = bounds[i][2];
        }
        try mock.run(cases) returns (int256[][] memory results) {
            int256[] memory r = results[0];
            check(r.length == 1 + bounds.length, "a number for each");
            check(-STEP_LIMIT <= r[0] && r[0] <= STEP_LIMIT, "d is bounded");
            for (uint256 i = 0; i < bounds.length; ++i) {
                check(bounds[i][0] <= r[1 + i] && r[1 + i] <= bounds[i][1], "states are bounded");
            }
        } catch (bytes memory said) {
            bytes4 selector = bytes4(said);
            check(
                selector == Programs.ValueTooLarge.selector || selector == Programs.BadDivisor.selector
                    || selector == Programs.BadRadicand.selector,
                "an error of run"
            );
        }
    }

    // ---------------------------------------------------------------------------------------------------------- layout

    function test_layout_is_as_written() public view {
        bytes memory first = state(-1, 2, 0);
        bytes memory second = state(3, 5, 4);
        bytes memory program = build(bytes.concat(first, second), numbers(1, 2), "", hex"000102");
        (uint256 f, bytes memory section, int256[3][] memory bounds) = mock.shapeOf(program);
        same(f, 7, "fraction bits");
        same(keccak256(section), keccak256(bytes.concat(first, second)), "section");
        check(bounds.length == 2, "states");
        check(bounds[0][0] == -1 && bounds[0][1] == 2 && bounds[0][2] == 0, "first state");
        check(bounds[1][0] == 3 && bounds[1][1] == 5 && bounds[1][2] == 4, "second state");
    }

    // ------------------------------------------------------------------------------------------------------------- run

    function caseOf(bytes memory program, int256 q, int256 s) internal pure returns (ProgramsMock.Case[] memory cases) {
        cases = new ProgramsMock.Case[](1);
        cases[0] = ProgramsMock.Case(program, [int256(11), 12, 13, 14], new int256[](1), new int256[][](1));
        cases[0].q[0] = q;
        uint256 states = uint8(program[0]);
        cases[0].states[0] = new int256[](states);
        for (uint256 i = 0; i < states; ++i) {
            cases[0].states[0][i] = s + int256(i);
        }
    }

    /// @dev The result of one operation on two parameters, as the new state has it.
    function gives(uint8 kind, int256 x, int256 y, int256 expected) internal view {
        bytes memory program = one(x, y, kind, 3);
        mock.requireValid(program);
        check(mock.run(caseOf(program, 0, 0))[0][1] == expected, "result");
    }

    function givesAlone(uint8 kind, uint8 b, int256 x, int256 expected) internal view {
        bytes memory program = one(x, 0, kind, b);
        mock.requireValid(program);
        check(mock.run(caseOf(program, 0, 0))[0][1] == expected, "result");
    }

    function fails(uint8 kind, uint8 b, int256 x, int256 y, bytes4 selector, int256 value) internal {
        bytes memory program = one(x, y, kind, b);
        vm.expectRevert(abi.encodeWithSelector(selector, 0, value));
        mock.run(caseOf(program, 0, 0));
    }

    function test_run_by_hand() public view {
        gives(ADD, 3, -5, -2);
        gives(SUB, 3, -5, 8);
        gives(MUL, 3, -5, -15);
        gives(MUL, -3, -5, 15);
        gives(MIN, 3, -5, -5);
        gives(MIN, -5, 3, -5);
        gives(MAX, 3, -5, 3);
        gives(MAX, -5, 3, 3);
        givesAlone(NEG, 0, 3, -3);
        givesAlone(NEG, 0, -3, 3);
        givesAlone(ABS, 0, -3, 3);
        givesAlone(ABS, 0, 3, 3);
        givesAlone(SIGN, 0, -3, -1);
        givesAlone(SIGN, 0, 0, 0);
        givesAlone(SIGN, 0, 3, 1);
    }

    function test_run_shifts_towards_minus_infinity() public view {
        givesAlone(SHR, 1, 3, 1);
        givesAlone(SHR, 1, -3, -2);
        givesAlone(SHR, 1, -4, -2);
        givesAlone(SHR, 61, -1, -1);
        givesAlone(SHR, 61, MOST, 1);
        givesAlone(SHR, 61, -MOST, -2);
    }

    function test_run_divides_to_nearest_and_even() public view {
        int256[8] memory halves = [int256(0), 0, 1, 2, 2, 2, 3, 4];
        for (int256 x = 0; x < 8; ++x) {
            gives(DIV, x, 2, halves[uint256(x)]);
            gives(DIV, -x, 2, -halves[uint256(x)]);
        }
        gives(DIV, 5, 3, 2);
        gives(DIV, -5, 3, -2);
        gives(DIV, MOST, 1, MOST);
        gives(DIV, -MOST, MOST, -1);
        gives(DIV, MOST / 2, MOST, 0);
        gives(DIV, MOST / 2 + 1, MOST, 1);
    }

    function test_run_refuses_divisors_below_one() public {
        fails(DIV, 3, 7, 0, Programs.BadDivisor.selector, 0);
        fails(DIV, 3, 7, -2, Programs.BadDivisor.selector, -2);
    }

    function test_run_takes_the_floor_of_roots() public {
        int256[6] memory squares = [int256(0), 1, 2, 3, 4, 8];
        int256[6] memory roots = [int256(0), 1, 1, 1, 2, 2];
        for (uint256 i = 0; i < 6; ++i) {
            givesAlone(SQRT, 0, squares[i], roots[i]);
        }
        givesAlone(SQRT, 0, MOST, (1 << 31) - 1);
        fails(SQRT, 0, -1, 0, Programs.BadRadicand.selector, -1);
    }

    function test_run_root_is_the_floor_of_any(uint64 x) public view {
        int256 a = int256(uint256(x >> 2));
        bytes memory program = one(a, 0, SQRT, 0);
        int256 root = mock.run(caseOf(program, 0, 0))[0][1];
        check(root >= 0 && root * root <= a && (root + 1) * (root + 1) > a, "floor");
    }

    function test_run_quotient_is_the_nearest_of_any(int64 x, uint64 y) public view {
        (int256 a, int256 b) = (int256(x) / 2, int256(uint256(y >> 2) >> (y % 61)) + 1);
        if (b > MOST) b = MOST;
        if (a < -MOST) a = -MOST;
        bytes memory program = one(a, b, DIV, 3);
        int256 quotient = mock.run(caseOf(program, 0, 0))[0][1];
        int256 off = 2 * (quotient * b - a);
        if (off < 0) off = -off;
        check(off <= b, "nearest");
        if (off == b) check(quotient % 2 == 0, "even");
    }

    function test_run_refuses_values_of_2_63() public {
        bytes4 selector = Programs.ValueTooLarge.selector;
        int256 half = 1 << 61;
        gives(MUL, half, 3, MOST); // 3 * 2^61 is below 2^63; the state saturates
        gives(MUL, half, -3, -MOST);
        fails(MUL, 3, half, 4, selector, 1 << 63);
        fails(MUL, 3, half, -4, selector, -(1 << 63));
        fails(MUL, 3, MOST, MOST, selector, MOST * MOST);
        bytes memory program = build(
            state(-MOST, MOST, 0), numbers(MOST, 1), bytes.concat(op(ADD, 2, 2), op(ADD, 8, 3), op(ADD, 9, 3)), hex"0009"
        );
        mock.requireValid(program);
        vm.expectRevert(abi.encodeWithSelector(selector, 2, int256(1) << 63));
        mock.run(caseOf(program, 0, 0));
        program = withByte(program, program.length - 3, 7); // the third adds a register of 14 instead
        vm.expectRevert(abi.encodeWithSelector(selector, 2, (int256(1) << 63) + 13));
        mock.run(caseOf(program, 0, 0));
        program = withByte(withByte(program, program.length - 5, SUB), program.length - 3, 3);
        check(mock.run(caseOf(program, 0, 0))[0][1] == MOST, "2^63 - 1 goes on");
    }

    function test_run_saturates() public view {
        bytes memory program = build(state(-10, 20, 0), numbers(2, 0), op(MUL, 0, 2), hex"0808");
        int256[4] memory q = [int256(6), 11, STEP_LIMIT / 2, STEP_LIMIT / 2 + 1];
        int256[4] memory d = [int256(12), 22, STEP_LIMIT, STEP_LIMIT];
        int256[4] memory up = [int256(12), 20, 20, 20];
        int256[4] memory down = [int256(-10), -10, -10, -10];
        for (uint256 i = 0; i < 4; ++i) {
            int256[] memory found = mock.run(caseOf(program, q[i], 0))[0];
            check(found[0] == d[i] && found[1] == up[i], "above");
            found = mock.run(caseOf(program, -q[i], 0))[0];
            check(found[0] == -d[i] && found[1] == down[i], "below");
        }
    }

    function test_run_reads_registers_in_their_order() public view {
        bytes memory states = bytes.concat(state(0, 99, 0), state(0, 99, 0));
        int256[11] memory held = [int256(9), 7, 8, 3, -4, 11, 12, 13, 14, 6, 15];
        bytes memory operations = bytes.concat(op(ADD, 0, 0), op(ADD, 9, 4), op(ADD, 10, 10));
        for (uint8 r = 0; r < 11; ++r) {
            bytes memory program = build(states, numbers(3, -4), operations, abi.encodePacked(r, r, uint8(2)));
            mock.requireValid(program);
            int256[] memory found = mock.run(caseOf(program, 9, 7))[0];
            int256 expected = r == 9 ? int256(18) : r == 10 ? int256(14) : held[r];
            check(found[0] == expected, "d");
            check(found[1] == (expected < 0 ? int256(0) : expected), "first state");
            check(found[2] == 8, "second state");
        }
    }

    function test_run_panics_without_a_state_and_ignores_one_too_many() public {
        ProgramsMock.Case[] memory cases = caseOf(sample(), 100, 50);
        cases[0].states[0] = new int256[](2);
        cases[0].states[0][0] = 50;
        check(mock.run(cases)[0][0] == 31, "the second is not read");
        cases[0].states[0] = new int256[](0);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x32));
        mock.run(cases);
    }

    function test_run_is_the_same_however_it_is_called() public view {
        ProgramsMock.Case[] memory cases = new ProgramsMock.Case[](3);
        cases[0] = caseOf(sample(), 100, 50)[0];
        cases[1] = caseOf(one(MOST, 3, DIV, 3), 0, 0)[0];
        cases[2] = cases[0];
        int256[][] memory results = mock.run(cases);
        check(results[0][0] == 31 && results[0][1] == 250, "by hand"); // 3 * 50 + 100, and an eighth of it
        check(results[2][0] == 31 && results[2][1] == 250, "again");
    }
}
