// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Grid} from "../../challenges/Grid.sol";

/// @notice The library over whole arrays, so that others can hold it against their own arithmetic.
contract GridMock {
    function toInteger(uint32[] calldata bits, uint8 gridBits)
        external
        pure
        returns (bool[] memory canonical, int256[] memory integers)
    {
        (canonical, integers) = (new bool[](bits.length), new int256[](bits.length));
        for (uint256 i = 0; i < bits.length; ++i) {
            (canonical[i], integers[i]) = Grid.toInteger(bits[i], gridBits);
        }
    }

    function mean(int256[] calldata sums, uint256[] calldata weights) external pure returns (int256[] memory means) {
        means = new int256[](sums.length);
        for (uint256 i = 0; i < sums.length; ++i) {
            means[i] = Grid.mean(sums[i], weights[i]);
        }
    }

    function add(uint32[] calldata w, uint32[] calldata x) external pure returns (uint32[] memory sums) {
        sums = new uint32[](w.length);
        for (uint256 i = 0; i < w.length; ++i) {
            sums[i] = Grid.add(w[i], x[i]);
        }
    }

    function step(uint32[] calldata w, int256[] calldata d, int256[] calldata k)
        external
        pure
        returns (uint32[] memory next)
    {
        next = new uint32[](w.length);
        for (uint256 i = 0; i < w.length; ++i) {
            next[i] = Grid.step(w[i], d[i], k[i]);
        }
    }
}
