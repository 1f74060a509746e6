// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {RuleSet, Shape} from "../interfaces/IRules.sol";
import {Packing} from "./Packed.sol";

/// @title Where things stand in rule bytes
/// @notice Offsets of the fields; `IRules` says what they mean.
library RuleBytes {
    uint8 internal constant VERSION = 1;
    uint256 private constant COMBINE = 1;
    /// @dev Every value as float32 on the grid.
    uint16 private constant DENSE = 1;
    /// @dev Rows of integers with a scale each.
    uint16 private constant PACKED = 2;
    uint256 private constant FILE = 8;
    uint256 private constant COUNT = 80;
    /// @dev Largest factor where factors follow from statistics and each contribution counts once.
    uint256 internal constant SHARE = 1 << 16;
    /// @dev Length of everything before the parameters.
    uint256 internal constant FIXED = 81;

    /// @notice Where the server program begins.
    function programAt(bytes calldata rules) internal pure returns (uint256) {
        return FIXED + 8 * uint256(uint8(rules[COUNT]));
    }

    function combineRule(bytes calldata rules) internal pure returns (uint16) {
        return uint16(bytes2(rules[COMBINE:]));
    }

    function shape(bytes calldata rules) internal pure returns (Shape) {
        return Shape(uint8(rules[COMBINE + 2]));
    }

    function updateForm(bytes calldata rules) internal pure returns (uint16) {
        return uint16(bytes2(rules[COMBINE + 3:]));
    }

    /// @notice Whether each contribution counts once.
    function uniform(bytes calldata rules) internal pure returns (bool) {
        return uint8(rules[COMBINE + 5]) != 0;
    }

    /// @notice Whether factors follow from statistics, so that each may be less than it might.
    function selects(bytes calldata rules) internal pure returns (bool) {
        return shape(rules) >= Shape.Select;
    }

    /// @notice Whether they follow from statistics and are shares, so that all may be less than the divisor.
    function isSelect(bytes calldata rules) internal pure returns (bool) {
        return shape(rules) == Shape.Select;
    }

    /// @notice Whether they follow from statistics and are 0 or 1: values nearest to the median of the selected count.
    function isSelectColumns(bytes calldata rules) internal pure returns (bool) {
        return shape(rules) == Shape.SelectColumns;
    }

    /// @notice Whether updates hold values as `Grid` reads them.
    function isDense(bytes calldata rules) internal pure returns (bool) {
        return updateForm(rules) == DENSE;
    }

    /// @notice Whether updates hold packed rows.
    function isPacked(bytes calldata rules) internal pure returns (bool) {
        return updateForm(rules) == PACKED;
    }

    /// @notice How updates of form 2 are packed, in the last bytes of the last two parameters.
    function packing(bytes calldata rules) internal pure returns (Packing memory) {
        uint256 end = programAt(rules);
        return Packing(uint8(rules[end - 9]), uint8(rules[end - 1]));
    }

    function isColumns(bytes calldata rules) internal pure returns (bool) {
        return shape(rules) == Shape.Columns;
    }

    /// @notice How many of the values of a coordinate columns leave out at each end; less than half of them.
    /// @param count Of values, at least 1.
    function cut(bytes calldata rules, uint256 count) internal pure returns (uint256) {
        uint256 share = uint64(bytes8(rules[FIXED:])); // the first parameter, in 65536ths, at most half
        return Math.min((count * share) >> 16, (count - 1) / 2);
    }

    /// @notice How many values select columns keep: of a coordinate's selected ones, and at least of all contributions.
    function kept(bytes calldata rules, uint256 count) internal pure returns (uint256) {
        uint256 leftOut = uint64(bytes8(rules[FIXED:])); // the first parameter
        return count > leftOut ? count - leftOut : 1;
    }

    function gridBits(bytes calldata rules) internal pure returns (uint8) {
        return uint8(rules[COMBINE + 6]);
    }

    function values(bytes calldata rules) internal pure returns (uint64) {
        return uint64(bytes8(rules[FILE:]));
    }

    function segments(bytes calldata rules) internal pure returns (bytes32) {
        return bytes32(rules[FILE + 40:]);
    }

    function parameters(bytes calldata rules) internal pure returns (int64[] memory found) {
        found = new int64[](uint8(rules[COUNT]));
        for (uint256 i = 0; i < found.length; ++i) {
            found[i] = int64(uint64(bytes8(rules[FIXED + 8 * i:])));
        }
    }

    function read(bytes calldata rules) internal pure returns (RuleSet memory found) {
        found.combineRule = combineRule(rules);
        found.shape = shape(rules);
        found.updateForm = updateForm(rules);
        found.uniform = uniform(rules);
        found.gridBits = gridBits(rules);
        found.values = values(rules);
        found.header = bytes32(rules[FILE + 8:]);
        found.segments = segments(rules);
        found.parameters = parameters(rules);
    }
}
