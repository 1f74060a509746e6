// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ISelections} from "../interfaces/ISelections.sol";
import {Gram} from "./Gram.sol";

/// @title Factors of updates by their inner products, as `registry/rules/selection.py` computes them
/// @notice Matrices are as `Gram` bounds them, of at most 32 updates.
library RobustRules {
    uint256 private constant UNIT = 1 << 16;

    /// @notice Multi-Krum: 1 for the updates whose n - f - 2 nearest others are nearest.
    /// @param selected How many; 0 for n - f.
    function multiKrum(int256[] memory products, uint256 count, uint256 byzantine, uint256 selected)
        internal
        pure
        returns (uint256[] memory)
    {
        uint256 most = count < 3 ? 0 : (count - 3) / 2;
        if (byzantine > most) byzantine = most;
        uint256 near = count > byzantine + 3 ? count - byzantine - 2 : 1;
        int256[] memory far = Gram.distances(products, count);
        int256[] memory scores = new int256[](count);
        int256[] memory others = new int256[](count);
        for (uint256 k = 0; k < count; ++k) {
            uint256 there = _othersOf(far, count, k, others);
            Gram.sort(others, 0, there);
            unchecked {
                for (uint256 i = 0; i < near && i < there; ++i) {
                    scores[k] += others[i];
                }
            }
        }
        if (selected == 0 || selected > count - byzantine) selected = count - byzantine;
        return _chosen(Gram.nearest(scores, 0, count, selected), count);
    }

    /// @notice Geometric median: smoothed Weiszfeld steps from the mean.
    function geometricMedian(int256[] memory products, uint256 count, uint256 steps)
        internal
        pure
        returns (uint256[] memory factors)
    {
        factors = new uint256[](count);
        for (uint256 k = 0; k < count; ++k) {
            factors[k] = 1;
        }
        uint256[] memory far = new uint256[](count);
        for (uint256 step = 0; step < steps; ++step) {
            uint256 nearest = _distancesToCentre(products, factors, far);
            unchecked {
                for (uint256 k = 0; k < count; ++k) {
                    factors[k] = UNIT * nearest / far[k];
                }
            }
        }
    }

    /// @notice Clipped norms: each factor scales an update down to a norm of at most `bound`, or the lower median norm.
    function clippedNorms(int256[] memory products, uint256 count, uint256 bound)
        internal
        pure
        returns (uint256[] memory factors)
    {
        int256[] memory norms = new int256[](count);
        factors = new uint256[](count);
        for (uint256 k = 0; k < count; ++k) {
            factors[k] = Math.sqrt(uint256(products[k * count + k]));
            norms[k] = int256(factors[k]);
        }
        Gram.sort(norms, 0, count);
        if (bound == 0) bound = uint256(norms[(count - 1) / 2]);
        for (uint256 k = 0; k < count; ++k) {
            factors[k] = factors[k] <= bound ? UNIT : UNIT * bound / factors[k];
        }
    }

    /// @notice Bulyan: 1 for the update that Krum chooses, then of those left, and so on, until n - 2f are chosen.
    function repeatedKrum(int256[] memory products, uint256 count, uint256 byzantine)
        internal
        pure
        returns (uint256[] memory)
    {
        int256[] memory far = Gram.distances(products, count);
        int256[] memory near = _nearestFirst(far, count);
        uint256 wanted = count > 2 * byzantine + 1 ? count - 2 * byzantine : 1;
        uint256 left = (1 << count) - 1;
        uint256 there = count;
        while (count - there < wanted) {
            uint256 counted = there > byzantine + 3 ? there - byzantine - 2 : 1;
            left &= ~_nearestToOthers(near, count, left, counted);
            there = Gram.bits(left);
        }
        return _chosen(((1 << count) - 1) & ~left, count);
    }

    /// @dev Distances of one update to all others; returns how many there are.
    function _othersOf(int256[] memory far, uint256 count, uint256 k, int256[] memory others)
        private
        pure
        returns (uint256 there)
    {
        for (uint256 j = 0; j < count; ++j) {
            if (j != k) others[there++] = far[k * count + j];
        }
    }

    /// @dev With factors a of sum A: A^2 |x_k - z|^2 = A^2 G_kk - 2 A sum_j a_j G_kj + sum_ij a_i a_j G_ij. Square roots are
    /// rounded down, and one below one counts as one.
    /// @param far Written.
    /// @return nearest The least.
    function _distancesToCentre(int256[] memory products, uint256[] memory factors, uint256[] memory far)
        private
        pure
        returns (uint256 nearest)
    {
        int256 total = int256(Gram.sum(factors));
        (int256[] memory toward, int256 centre) = _towardUpdates(products, factors);
        nearest = type(uint256).max;
        uint256 size = 32 * factors.length;
        for (uint256 place = 0; place < size; place += 32) {
            int256 square;
            // slither-disable-next-line assembly
            assembly ("memory-safe") {
                // Entry k of the diagonal stands k rows and k words on.
                let own := mload(add(add(products, 32), add(mul(shr(5, size), place), place)))
                square := sub(mul(total, own), shl(1, mload(add(add(toward, 32), place))))
                square := add(mul(total, square), centre)
            }
            if (square < 0) revert ISelections.BadProducts();
            uint256 distance = Math.sqrt(uint256(square));
            if (distance == 0) distance = 1;
            if (distance < nearest) nearest = distance;
            // slither-disable-next-line assembly
            assembly ("memory-safe") {
                mstore(add(add(far, 32), place), distance)
            }
        }
    }

    /// @dev Inner products of each update with the sum of factor times update, and of that sum with itself.
    function _towardUpdates(int256[] memory products, uint256[] memory factors)
        private
        pure
        returns (int256[] memory toward, int256 centre)
    {
        toward = new int256[](factors.length);
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let first := add(factors, 32)
            let size := mul(32, mload(factors))
            let end := add(first, size)
            let pairs := and(size, not(63)) // two factors at a time, and one that may be left
            let entry := add(products, 32)
            for { let k := 0 } lt(k, size) { k := add(k, 32) } {
                let inner := 0
                let f := first
                for { let last := add(first, pairs) } lt(f, last) { f := add(f, 64) } {
                    inner := add(inner, mul(mload(f), mload(entry)))
                    inner := add(inner, mul(mload(add(f, 32)), mload(add(entry, 32))))
                    entry := add(entry, 64)
                }
                if lt(f, end) {
                    inner := add(inner, mul(mload(f), mload(entry)))
                    entry := add(entry, 32)
                }
                mstore(add(add(toward, 32), k), inner)
                centre := add(centre, mul(mload(add(first, k)), inner))
            }
        }
    }

    /// @dev Of each update all others, nearest first, row by row in one array of count - 1 each: the distance, and in the
    /// last byte the place.
    function _nearestFirst(int256[] memory far, uint256 count) private pure returns (int256[] memory near) {
        near = new int256[](count * (count - 1));
        uint256 to = 0;
        for (uint256 k = 0; k < count; ++k) {
            for (uint256 j = 0; j < count; ++j) {
                if (j != k) near[to++] = far[k * count + j] << 8 | int256(j);
            }
            Gram.sort(near, k * (count - 1), count - 1);
        }
    }

    /// @dev Of those left, as bits, the ones whose nearest others are nearest; of several, those whose distances to all
    /// others, in ascending order, come first.
    /// @param counted How many of the others.
    function _nearestToOthers(int256[] memory near, uint256 count, uint256 left, uint256 counted)
        private
        pure
        returns (uint256 best)
    {
        int256 least = type(int256).max;
        uint256 first = 0;
        for (uint256 k = 0; k < count; ++k) {
            if (left >> k & 1 == 0) continue;
            int256 score = _score(near, k * (count - 1), (k + 1) * (count - 1), left, counted);
            if (score > least) continue;
            int256 apart = score < least ? int256(-1) : _compare(near, count, left, k, first);
            if (apart > 0) continue;
            best = apart < 0 ? 1 << k : best | 1 << k;
            (least, first) = (score, k);
        }
    }

    /// @dev Sum of the distances to the nearest of those left, from one place of the array up to another.
    function _score(int256[] memory near, uint256 begin, uint256 end, uint256 left, uint256 counted)
        private
        pure
        returns (int256 score)
    {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let last := add(add(near, 32), mul(32, end))
            for { let from := add(add(near, 32), mul(32, begin)) } and(lt(from, last), gt(counted, 0)) {
                from := add(from, 32)
            } {
                let entry := mload(from)
                if and(shr(and(entry, 0xff), left), 1) {
                    score := add(score, shr(8, entry))
                    counted := sub(counted, 1)
                }
            }
        }
    }

    /// @dev Compares the distances of two to all others left, in ascending order: negative if those of k come first.
    function _compare(int256[] memory near, uint256 count, uint256 left, uint256 k, uint256 other)
        private
        pure
        returns (int256)
    {
        uint256 b = other * (count - 1);
        for (uint256 a = k * (count - 1); a < (k + 1) * (count - 1); ++a) {
            if (left >> uint8(uint256(near[a])) & 1 == 0) continue;
            while (left >> uint8(uint256(near[b])) & 1 == 0) ++b;
            int256 apart = (near[a] >> 8) - (near[b++] >> 8);
            if (apart != 0) return apart;
        }
        return 0;
    }

    function _chosen(uint256 places, uint256 count) private pure returns (uint256[] memory factors) {
        factors = new uint256[](count);
        for (uint256 k = 0; k < count; ++k) {
            factors[k] = places >> k & 1;
        }
    }
}
