// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ISelections} from "../interfaces/ISelections.sol";

/// @title Matrices of inner products, row by row in one array
/// @notice `read` and `mixed` bound the entries by 2^200, so that what rules make of at most 32 contributions does not
/// overflow: their factors are at most 2^16, so the largest number is below 2^(200 + 2 * 21 + 4). Rules thus compute
/// unchecked.
library Gram {
    /// @dev Bits of an entry at most.
    uint256 private constant MOST_BITS = 200;

    /// @notice A matrix of its words.
    function read(bytes calldata words, uint256 count) internal pure returns (int256[] memory matrix) {
        matrix = new int256[](count * count);
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            calldatacopy(add(matrix, 32), words.offset, words.length)
        }
        if (_widest(matrix) > MOST_BITS) revert ISelections.BadProducts();
        for (uint256 k = 0; k < count; ++k) {
            if (matrix[k * count + k] < 0) revert ISelections.BadProducts();
        }
    }

    /// @notice Squared Euclidean distances of all pairs.
    function distances(int256[] memory matrix, uint256 count) internal pure returns (int256[] memory found) {
        found = new int256[](count * count);
        unchecked {
            for (uint256 i = 0; i < count; ++i) {
                for (uint256 j = 0; j < i; ++j) {
                    int256 d = matrix[i * count + i] + matrix[j * count + j] - 2 * matrix[i * count + j];
                    (found[i * count + j], found[j * count + i]) = (d, d);
                }
            }
        }
    }

    /// @notice Of each update the places, as bits, of the nearest, itself with them: `kept`, or more where the last are
    /// equal.
    function neighbours(int256[] memory matrix, uint256 count, uint256 kept)
        internal
        pure
        returns (uint256[] memory members)
    {
        int256[] memory far = distances(matrix, count);
        members = new uint256[](count);
        for (uint256 k = 0; k < count; ++k) {
            members[k] = nearest(far, k * count, count, kept);
        }
    }

    /// @notice The places, as bits, of the smallest numbers of those from `begin` on.
    function nearest(int256[] memory numbers, uint256 begin, uint256 count, uint256 kept)
        internal
        pure
        returns (uint256 places)
    {
        int256[] memory sorted = new int256[](count);
        unchecked {
            for (uint256 k = 0; k < count; ++k) {
                sorted[k] = numbers[begin + k];
            }
            sort(sorted, 0, count);
            int256 farthest = sorted[kept - 1];
            for (uint256 k = 0; k < count; ++k) {
                if (numbers[begin + k] <= farthest) places |= 1 << k;
            }
        }
    }

    /// @notice Sorts as many numbers from `begin` on in place, ascending.
    function sort(int256[] memory numbers, uint256 begin, uint256 count) internal pure {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let first := add(add(numbers, 32), mul(32, begin))
            let end := add(first, mul(32, count))
            for { let from := add(first, 32) } lt(from, end) { from := add(from, 32) } {
                let entry := mload(from)
                let to := from
                for { } gt(to, first) { to := sub(to, 32) } {
                    let before := mload(sub(to, 32))
                    if iszero(sgt(before, entry)) { break }
                    mstore(to, before)
                }
                mstore(to, entry)
            }
        }
    }

    /// @notice The matrix of means of updates, times a common unit squared, and that unit.
    /// @param members Of each mean, as bits.
    function mixed(int256[] memory matrix, uint256 count, uint256[] memory members)
        internal
        pure
        returns (int256[] memory made, uint256 unit)
    {
        unit = 1;
        for (uint256 m = 0; m < members.length; ++m) {
            unit = _lcm(unit, bits(members[m]));
        }
        if (_widest(matrix) + 2 * (Math.log2(unit) + 1) + 10 > MOST_BITS) revert ISelections.BadProducts();
        uint256 means = members.length;
        uint256[] memory shares = new uint256[](means);
        uint256[][] memory places = new uint256[][](means);
        for (uint256 m = 0; m < means; ++m) {
            places[m] = _placesOf(members[m]);
            shares[m] = unit / places[m].length;
        }
        int256[] memory sums = new int256[](count * means);
        made = new int256[](means * means);
        unchecked {
            for (uint256 b = 0; b < means; ++b) {
                for (uint256 i = 0; i < count; ++i) {
                    sums[b * count + i] = _sumOf(matrix, i * count, places[b]);
                }
                for (uint256 a = 0; a <= b; ++a) {
                    int256 product = int256(shares[a] * shares[b]) * _sumOf(sums, b * count, places[a]);
                    (made[a * means + b], made[b * means + a]) = (product, product);
                }
            }
        }
    }

    function sum(uint256[] memory numbers) internal pure returns (uint256 total) {
        for (uint256 k = 0; k < numbers.length; ++k) {
            total += numbers[k];
        }
    }

    /// @notice How many bits are one.
    function bits(uint256 places) internal pure returns (uint256 count) {
        for (; places != 0; places &= places - 1) {
            ++count;
        }
    }

    /// @dev Where the places stand that are given as bits, in bytes.
    function _placesOf(uint256 members) private pure returns (uint256[] memory places) {
        places = new uint256[](bits(members));
        uint256 there = 0;
        for (uint256 place = 0; members != 0; (members, place) = (members >> 1, place + 32)) {
            if (members & 1 == 1) places[there++] = place;
        }
    }

    /// @dev Of the entries from `begin` on that stand at these places.
    function _sumOf(int256[] memory entries, uint256 begin, uint256[] memory places) private pure returns (int256 total) {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let first := add(add(entries, 32), mul(32, begin))
            let to := add(places, 32)
            for { let end := add(to, mul(32, mload(places))) } lt(to, end) { to := add(to, 32) } {
                total := add(total, mload(add(first, mload(to))))
            }
        }
    }

    /// @dev Bits of the largest magnitude, or one more.
    function _widest(int256[] memory matrix) private pure returns (uint256) {
        uint256 seen;
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let end := add(add(matrix, 32), mul(32, mload(matrix)))
            for { let from := add(matrix, 32) } lt(from, end) { from := add(from, 32) } {
                let entry := mload(from)
                seen := or(seen, xor(entry, sar(255, entry)))
            }
        }
        return seen == 0 ? 1 : Math.log2(seen) + 1;
    }

    function _lcm(uint256 a, uint256 b) private pure returns (uint256) {
        (uint256 x, uint256 y) = (a, b);
        while (y != 0) (x, y) = (y, x % y);
        // x divides a.
        // slither-disable-next-line divide-before-multiply
        return a / x * b;
    }
}
