// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IChallenges, Middle, Window} from "../interfaces/IChallenges.sol";
import {Grid} from "./Grid.sol";

/// @title Order statistics of a coordinate's values, by counting
/// @notice Nothing is sorted: values below, at and above two given ones are counted, which tells whether these are what
/// they should be.
library Columns {
    /// @notice Counts a value where it lies.
    /// @return The value, if it lies between the two; else zero.
    function place(Middle memory m, int256 q) internal pure returns (int256) {
        if (q < m.least) ++m.below;
        if (q == m.least) ++m.atLeast;
        if (q == m.greatest) ++m.atGreatest;
        if (q > m.greatest) ++m.above;
        return m.least < q && q < m.greatest ? q : int256(0);
    }

    /// @notice Counts a value where it lies, about the two in the middle and in the window around them.
    /// @return The value, if it lies strictly within the window; else zero.
    function place(Middle memory m, Window memory w, int256 q) internal pure returns (int256) {
        // Between the two in the middle there is nothing.
        // slither-disable-next-line unused-return
        place(m, q);
        int256 greatest = _greatest(m, w);
        if (q == w.least) ++w.atLeast;
        if (q == greatest) ++w.atGreatest;
        if (q <= w.least || q >= greatest) return 0;
        ++w.within;
        return q;
    }

    /// @notice Whether nothing is counted yet.
    function isEmpty(Middle calldata m, Window calldata w) internal pure returns (bool) {
        return (m.below | m.atLeast | m.atGreatest | m.above | w.within | w.atLeast | w.atGreatest) == 0;
    }

    /// @notice The mean of all values but the `cut` least and the `cut` greatest.
    /// @param between The sum of those between the two.
    /// @param count Of all values.
    function meanOfMiddle(Middle memory m, int256 between, uint256 count, uint256 cut) internal pure returns (int256) {
        (uint256 atLeast, uint256 atGreatest) = _requireMiddle(m, cut);
        if (m.least == m.greatest) return m.least;
        int256 sum = between + int256(atLeast) * m.least + int256(atGreatest) * m.greatest;
        return Grid.mean(sum, count - 2 * cut);
    }

    /// @notice The mean of the `kept` values nearest to the median.
    /// @dev The ends of the window are as far from the median as each other. The values within are fewer than are kept, and
    /// no fewer with those at the ends. The rest is taken from the ends, once with the lower and once with the greater one
    /// first, and the mean of both means is rounded.
    /// @param m The two values in the middle, which are one for an odd number.
    /// @param within The sum of those strictly within the window.
    /// @param count Of all values, at least 1.
    /// @param kept At most `count`.
    function meanOfNearest(Middle memory m, Window memory w, int256 within, uint256 count, uint256 kept)
        internal
        pure
        returns (int256)
    {
        // slither-disable-next-line unused-return
        _requireMiddle(m, (count - 1) / 2);
        int256 greatest = _greatest(m, w);
        uint256 atGreatest = greatest == w.least ? 0 : w.atGreatest; // else they are those at the least
        uint256 upToEnds = uint256(w.within) + w.atLeast + atGreatest;
        if (greatest < w.least || w.within >= kept || upToEnds < kept) {
            // Ends so far out that they are cut here are none of the values.
            // forge-lint: disable-next-line(unsafe-typecast)
            revert IChallenges.OtherMiddle(w.least, int32(greatest));
        }
        uint256 rest = kept - w.within;
        uint256 lowFirst = Math.min(rest, w.atLeast);
        uint256 highFirst = Math.min(rest, atGreatest);
        int256 sum = 2 * within + int256(lowFirst + rest - highFirst) * w.least
            + int256(highFirst + rest - lowFirst) * greatest;
        return Grid.mean(sum, 2 * kept);
    }

    /// @dev The other end of the window: as far above the median as its least is below.
    function _greatest(Middle memory m, Window memory w) private pure returns (int256) {
        return int256(m.least) + m.greatest - w.least;
    }

    /// @dev `least` is in place `cut` of the values in ascending order where at most `cut` are below it and more are not
    /// above it; `greatest` likewise from the other end.
    /// @return How many of the values at `least` are kept, unless they are those at `greatest`.
    /// @return Likewise of those at `greatest`.
    function _requireMiddle(Middle memory m, uint256 cut) private pure returns (uint256, uint256) {
        uint256 upToLeast = uint256(m.below) + m.atLeast;
        uint256 fromGreatest = uint256(m.above) + m.atGreatest;
        if (m.below > cut || upToLeast <= cut || m.above > cut || fromGreatest <= cut) {
            revert IChallenges.OtherMiddle(m.least, m.greatest);
        }
        return (upToLeast - cut, fromGreatest - cut);
    }
}
