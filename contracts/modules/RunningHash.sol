// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The running hash of a round: 224 bits of a hash chain over its commitments, and their number in the low 32
/// @dev `docs/adr/0015-a-count-in-the-running-hash.md` says why 224 bits are enough.
library RunningHash {
    /// @notice The word of a round without commitments.
    /// @param seed Hash of what the round is and under which rules.
    function begin(bytes32 seed) internal pure returns (bytes32) {
        return _counted(seed, 0);
    }

    /// @notice The word with one commitment more.
    function extend(
        bytes32 running,
        address participant,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps
    ) internal pure returns (bytes32) {
        bytes32 hash = keccak256(abi.encode(running, participant, digest, tensorRoot, weight, steps));
        unchecked {
            return _counted(hash, count(running) + 1); // 2^32 commitments cost more gas than a chain has
        }
    }

    /// @notice How many commitments the word is of.
    function count(bytes32 running) internal pure returns (uint32) {
        // The low bits are meant.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint32(uint256(running));
    }

    function _counted(bytes32 hash, uint32 commitments) private pure returns (bytes32) {
        return (hash & ~bytes32(uint256(type(uint32).max))) | bytes32(uint256(commitments));
    }
}
