// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute, ICairn} from "../interfaces/ICairn.sol";
import {Contribution, Counted, IDisputed, Membership, Opening, Target, Tree} from "../interfaces/IDisputed.sol";
import {Merkle} from "./Merkle.sol";

/// @title What every challenge and demand begins with: the result in its window, and openings of its roots
abstract contract Disputed is IDisputed {
    /// @inheritdoc IDisputed
    uint64 public constant CHUNK_VALUES = 1024;
    uint16 internal constant WEIGHTED_MEAN = 1;
    uint16 internal constant FEDAVG = 1;

    /// @inheritdoc IDisputed
    // slither-disable-next-line naming-convention
    ICairn public immutable CAIRN;

    /// @dev The result in its window.
    function _open(Target calldata target) internal view returns (Dispute memory found) {
        found = CAIRN.dispute(target.modelId, target.number);
        bytes32 resultHash = keccak256(abi.encode(target.result));
        if (found.tally == 0 || found.resultHash != resultHash) {
            revert NotDisputed(target.modelId, target.number, resultHash);
        }
    }

    /// @dev The same, where the rules are those of which the aggregate is a function of its contributions.
    function _openMean(Target calldata target) internal view returns (Dispute memory found) {
        found = _open(target);
        if (found.combineRule != WEIGHTED_MEAN) _refuseRule(found);
    }

    /// @dev The same, where the version is one of its parent and the aggregate.
    function _openStep(Target calldata target) internal view returns (Dispute memory found) {
        found = _openMean(target);
        if (found.serverRule != FEDAVG) _refuseRule(found);
    }

    function _refuseRule(Dispute memory found) internal pure {
        revert RuleNotDisputable(found.combineRule, found.serverRule);
    }

    function _requireCounted(Counted calldata counted, bytes32 root) internal pure {
        if (root == 0) revert NoRoot();
        if (Merkle.countedRoot(counted.count, counted.inner) != root) revert BadCount(root);
    }

    function _requireMember(Membership calldata m, bytes32 root) internal pure {
        _requireCounted(m.counted, root);
        bytes32 leaf = _hashOf(m.contribution);
        if (!Merkle.includes(leaf, m.index, m.counted.count, m.proof, m.counted.inner)) revert BadProof(root, m.index);
    }

    /// @dev As a leaf of the contributions root.
    function _hashOf(Contribution calldata c) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0), abi.encode(c)));
    }

    /// @dev Opens a chunk whose length may be anything.
    function _requireChunk(Opening calldata opening, uint64 index, bytes32 root) internal view {
        _requireCounted(opening.counted, root);
        uint64 chunks = _chunks(opening.counted.count);
        if (!Merkle.includes(Merkle.leafHash(opening.leaf), index, chunks, opening.proof, opening.counted.inner)) {
            revert BadProof(root, index);
        }
    }

    /// @dev Opens the chunk of a coordinate, which must have the length its place says.
    /// @return bits Of the float32 there.
    function _valueAt(Opening calldata opening, uint64 coordinate, bytes32 root) internal view returns (uint32 bits) {
        if (coordinate >= opening.counted.count) revert BadIndex(coordinate, opening.counted.count);
        uint64 index = coordinate / CHUNK_VALUES;
        _requireChunk(opening, index, root);
        uint256 expected = _chunkBytes(opening.counted.count, index);
        if (opening.leaf.length != expected) revert BadLength(opening.leaf.length, expected);
        return _bitsAt(opening.leaf, coordinate % CHUNK_VALUES);
    }

    /// @dev float32 values stand little-endian.
    function _bitsAt(bytes calldata chunk, uint64 position) internal pure returns (uint32) {
        uint256 begin = uint256(position) * 4;
        uint32 stored = uint32(bytes4(chunk[begin:begin + 4]));
        stored = ((stored & 0xff00ff00) >> 8) | ((stored & 0x00ff00ff) << 8);
        return (stored >> 16) | (stored << 16);
    }

    function _chunks(uint64 values) internal pure returns (uint64) {
        return values / CHUNK_VALUES + (values % CHUNK_VALUES == 0 ? 0 : 1);
    }

    /// @dev Bytes of a chunk that is there.
    function _chunkBytes(uint64 values, uint64 index) internal pure returns (uint256) {
        uint64 left = values - index * CHUNK_VALUES;
        return 4 * uint256(left < CHUNK_VALUES ? left : CHUNK_VALUES);
    }

    /// @dev The tensor root of a blob of the round.
    function _rootOf(Target calldata target, Dispute memory found, Tree tree, Membership calldata membership)
        internal
        pure
        returns (bytes32)
    {
        if (tree == Tree.Aggregate) return target.result.aggregateRoot;
        if (tree == Tree.Version) return target.result.versionRoot;
        if (tree == Tree.Parent) return found.parentRoot;
        _requireMember(membership, target.result.contributionsRoot);
        return membership.contribution.tensorRoot;
    }
}
