// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Counted} from "../interfaces/Openings.sol";

/// @title Merkle trees as in RFC 9162, section 2.1 (sha2-256), and roots that count
library Merkle {
    /// @notice sha256(0x00 ‖ leaf).
    function leafHash(bytes calldata leaf) internal view returns (bytes32 hash) {
        // The precompile from scratch space past the free pointer, which is not kept: a transaction hashes dozens of
        // chunks of 1 KiB.
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore8(start, 0)
            calldatacopy(add(start, 1), leaf.offset, leaf.length)
            if iszero(staticcall(gas(), 2, start, add(leaf.length, 1), 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /// @notice sha256(0x01 ‖ left ‖ right).
    function nodeHash(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }

    /// @notice sha256(0x02 ‖ uint64 big-endian count ‖ inner).
    function countedRoot(uint64 count, bytes32 inner) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x02), count, inner));
    }

    /// @notice Whether proof shows the leaf at index of a tree of count leaves with this root (RFC 9162, 2.1.3.2).
    function includes(bytes32 leaf, uint64 index, uint64 count, bytes32[] calldata proof, bytes32 root)
        internal
        pure
        returns (bool)
    {
        if (index >= count) return false;
        uint64 node = index;
        uint64 last = count - 1;
        for (uint256 i = 0; i < proof.length; ++i) {
            if (last == 0) return false;
            if (node & 1 == 1 || node == last) {
                leaf = nodeHash(proof[i], leaf);
                while (node & 1 == 0 && node != 0) {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                leaf = nodeHash(leaf, proof[i]);
            }
            node >>= 1;
            last >>= 1;
        }
        return last == 0 && leaf == root;
    }

    /// @notice Adds the leaf of index `count` to a tree that grows at its end.
    /// @param peaks Roots of the perfect subtrees so far, largest first; room for one more than `count` has bits.
    /// @param height How many there are; as many as `count` has bits that are one.
    /// @return How many there are then.
    function grow(bytes32[] memory peaks, uint256 height, uint256 count, bytes32 leaf) internal pure returns (uint256) {
        while (count & 1 == 1) {
            leaf = nodeHash(peaks[--height], leaf);
            count >>= 1;
        }
        peaks[height] = leaf;
        return height + 1;
    }

    /// @notice The root over all leaves added so far, at least one.
    function rootOf(bytes32[] memory peaks, uint256 height) internal pure returns (bytes32 root) {
        root = peaks[--height];
        while (height != 0) root = nodeHash(peaks[--height], root);
    }
}
