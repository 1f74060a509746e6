// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Merkle} from "../../challenges/Merkle.sol";
import {Test} from "../support/Test.sol";
import {Trees} from "../support/Trees.sol";

contract MerkleTest is Test {
    // The library reads proofs and leaves from calldata.
    function includes(bytes32 leaf, uint64 index, uint64 count, bytes32[] calldata proof, bytes32 root)
        external
        pure
        returns (bool)
    {
        return Merkle.includes(leaf, index, count, proof, root);
    }

    function leafHash(bytes calldata leaf) external view returns (bytes32) {
        return Merkle.leafHash(leaf);
    }

    function someHashes(uint256 size) internal pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            hashes[i] = Trees.leafHash(abi.encode(i));
        }
    }

    function pathOf(bytes32[] memory hashes, uint256 index) internal pure returns (bytes32[] memory proof) {
        bytes32[] memory path = new bytes32[](64);
        uint256 length = Trees.pathOf(hashes, index, 0, hashes.length, path);
        proof = new bytes32[](length);
        for (uint256 i = 0; i < length; ++i) {
            proof[i] = path[i];
        }
    }

    function test_leafHash_and_nodeHash_are_those_of_the_rfc(bytes calldata leaf, bytes32 left, bytes32 right)
        public
        view
    {
        same(this.leafHash(leaf), sha256(abi.encodePacked(hex"00", leaf)), "leaf");
        same(Merkle.nodeHash(left, right), sha256(abi.encodePacked(hex"01", left, right)), "node");
    }

    function test_leafHash_reverts_for_want_of_gas_and_never_gives_another_hash() public view {
        bytes memory leaf = new bytes(40_000);
        bytes32 expected = sha256(abi.encodePacked(hex"00", leaf));
        bool failed;
        for (uint256 given = 10_000;; given += 500) {
            try this.leafHash{gas: given}(leaf) returns (bytes32 hash) {
                same(hash, expected, "the hash");
                break;
            } catch {
                failed = true;
            }
        }
        check(failed, "too little gas was there");
    }

    function test_countedRoot_holds_the_count(uint64 count, bytes32 inner) public pure {
        same(Merkle.countedRoot(count, inner), sha256(abi.encodePacked(hex"02", count, inner)), "root");
        check(Merkle.countedRoot(count, inner) != Merkle.countedRoot(count ^ 1, inner), "another count");
    }

    function test_includes_every_leaf_of_every_size_and_nothing_else() public view {
        for (uint64 size = 1; size <= 20; ++size) {
            bytes32[] memory hashes = someHashes(size);
            bytes32 root = Trees.rootOf(hashes, 0, size);
            for (uint64 index = 0; index < size; ++index) {
                bytes32[] memory proof = pathOf(hashes, index);
                check(this.includes(hashes[index], index, size, proof, root), "its place");
                for (uint64 other = 0; other < size + 2; ++other) {
                    if (other != index) {
                        check(!this.includes(hashes[index], other, size, proof, root), "another place");
                    }
                }
                check(!this.includes(hashes[index], index, size, proof, ~root), "another root");
                check(!this.includes(~hashes[index], index, size, proof, root), "another leaf");
            }
        }
    }

    function test_includes_refuses_another_size(uint8 size_, uint8 index_, uint8 other_) public view {
        uint64 size = uint64(within(size_, 1, 64));
        uint64 index = uint64(within(index_, 0, size - 1));
        uint64 other = uint64(within(other_, index + 1, 200));
        bytes32[] memory hashes = someHashes(size);
        bytes32[] memory proof = pathOf(hashes, index);
        bytes32 root = Trees.rootOf(hashes, 0, size);
        // A tree of another size may have the same path to this leaf: sizes are what counted roots are for.
        bool alike = this.includes(hashes[index], index, other, proof, root);
        if (alike) same(pathOf(someHashes(other), index).length, proof.length, "only along an equal path");
        if (other == size) check(alike, "its size");
    }

    function test_includes_refuses_a_changed_path(uint8 size_, uint8 index_, uint256 change) public view {
        uint64 size = uint64(within(size_, 2, 64));
        uint64 index = uint64(within(index_, 0, size - 1));
        bytes32[] memory hashes = someHashes(size);
        bytes32 root = Trees.rootOf(hashes, 0, size);
        bytes32[] memory proof = pathOf(hashes, index);
        bytes32 kept = proof[change % proof.length];
        proof[change % proof.length] ^= bytes32(1 << (change >> 8) % 256);
        check(!this.includes(hashes[index], index, size, proof, root), "a bit changed");
        proof[change % proof.length] = kept;

        bytes32[] memory longer = new bytes32[](proof.length + 1);
        bytes32[] memory shorter = new bytes32[](proof.length - 1);
        for (uint256 i = 0; i < proof.length; ++i) {
            longer[i] = proof[i];
            if (i < shorter.length) shorter[i] = proof[i];
        }
        check(!this.includes(hashes[index], index, size, longer, root), "too long");
        check(!this.includes(hashes[index], index, size, shorter, root), "too short");
        check(!this.includes(hashes[index], index, size, new bytes32[](0), root), "none");
        if (proof.length > 1) {
            (proof[0], proof[1]) = (proof[1], proof[0]);
            check(!this.includes(hashes[index], index, size, proof, root), "swapped");
        }
    }

    function test_includes_refuses_a_node_as_a_leaf() public view {
        bytes32[] memory hashes = someHashes(4);
        bytes32 root = Trees.rootOf(hashes, 0, 4);
        bytes32[] memory upper = new bytes32[](1);
        upper[0] = Trees.nodeHash(hashes[2], hashes[3]);
        bytes memory node = abi.encodePacked(hashes[0], hashes[1]);
        // As a tree of two, the nodes would be its leaves, but a leaf is hashed as a leaf.
        check(!this.includes(Trees.leafHash(node), 0, 2, upper, root), "bytes of a node");
        check(!this.includes(Trees.nodeHash(hashes[0], hashes[1]), 0, 4, upper, root), "a node in a tree of four");
    }

    function test_includes_nothing_in_an_empty_tree(bytes32 leaf, uint64 index) public view {
        check(!this.includes(leaf, index, 0, new bytes32[](0), leaf), "empty");
    }

    function test_includes_takes_the_largest_tree() public view {
        // 2^64 - 1 leaves: the last one, beside perfect trees of 2^63 down to 2^1 leaves on its left.
        bytes32 leaf = Trees.leafHash("last");
        bytes32[] memory proof = new bytes32[](63);
        bytes32 root = leaf;
        for (uint256 i = 0; i < 63; ++i) {
            proof[i] = keccak256(abi.encode(i));
            root = Trees.nodeHash(proof[i], root);
        }
        check(this.includes(leaf, type(uint64).max - 1, type(uint64).max, proof, root), "last");
        check(!this.includes(leaf, type(uint64).max, type(uint64).max, proof, root), "past the last");
    }

    function test_growing_leaf_by_leaf_gives_the_root_of_the_definition() public pure {
        bytes32[] memory hashes = someHashes(70);
        bytes32[] memory peaks = new bytes32[](8);
        uint256 height;
        for (uint256 size = 1; size <= hashes.length; ++size) {
            height = Merkle.grow(peaks, height, size - 1, hashes[size - 1]);
            same(height, ones(size), "as many peaks as the size has ones");
            same(Merkle.rootOf(peaks, height), Trees.rootOf(hashes, 0, size), "root");
        }
    }

    function ones(uint256 n) internal pure returns (uint256 count) {
        for (; n != 0; n >>= 1) {
            count += n & 1;
        }
    }
}
