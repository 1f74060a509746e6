// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RoundId} from "../interfaces/ICairn.sol";

/// @title A round's public draw, as `registry/rules/draw.py` and `registry/rounds/draws.py` do it
library Draws {
    uint256 private constant WORDS = 1 << 64;

    /// @notice A permutation of 0..count-1: Fisher-Yates, by sha2-256 of the seed in counter mode.
    function order(RoundId roundId, bytes32 runningHash, uint256 count) internal pure returns (uint256[] memory places) {
        bytes32 seed = sha256(abi.encodePacked("cairn draw", RoundId.unwrap(roundId), runningHash));
        places = new uint256[](count);
        for (uint256 k = 0; k < count; ++k) {
            places[k] = k;
        }
        uint64 counter = 0;
        for (uint256 j = count - 1; j > 0; --j) {
            uint256 most = WORDS - WORDS % (j + 1);
            uint256 word = most;
            while (word >= most) {
                word = uint64(bytes8(sha256(abi.encodePacked(seed, counter++))));
            }
            uint256 k = word % (j + 1);
            (places[j], places[k]) = (places[k], places[j]);
        }
    }

    /// @notice The places of each bucket, as bits: the next `size` of the order, of the last one what is left.
    function buckets(uint256[] memory places, uint256 size) internal pure returns (uint256[] memory members) {
        members = new uint256[]((places.length + size - 1) / size);
        for (uint256 k = 0; k < places.length; ++k) {
            members[k / size] |= 1 << places[k];
        }
    }
}
