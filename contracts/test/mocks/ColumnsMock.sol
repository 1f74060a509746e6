// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Columns} from "../../challenges/Columns.sol";
import {Middle, Window} from "../../interfaces/IChallenges.sol";

/// @notice The values of a coordinate, and what a challenger says of them.
struct Case {
    int256[] values;
    /// The two in the middle, and the lower end of the window.
    int32[3] ends;
    uint256 kept;
}

/// @notice The library over many coordinates, so that others can hold it against their own arithmetic.
contract ColumnsMock {
    function meansOfNearest(Case[] calldata cases) external pure returns (int256[] memory means) {
        means = new int256[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            means[i] = _meanOfNearest(cases[i]);
        }
    }

    function _meanOfNearest(Case calldata c) private pure returns (int256) {
        Middle memory m = Middle(c.ends[0], c.ends[1], 0, 0, 0, 0);
        Window memory w = Window(c.ends[2], 0, 0, 0);
        int256 within;
        for (uint256 k = 0; k < c.values.length; ++k) {
            within += Columns.place(m, w, c.values[k]);
        }
        return Columns.meanOfNearest(m, w, within, c.values.length, c.kept);
    }
}
