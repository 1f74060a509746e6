// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute, ICairn} from "../interfaces/ICairn.sol";
import {
    Basis,
    Contribution,
    Counted,
    HeadKind,
    IDisputed,
    Membership,
    Opening,
    Target,
    Tree
} from "../interfaces/IDisputed.sol";
import {IRules} from "../interfaces/IRules.sol";
import {Packed} from "../rules/Packed.sol";
import {RuleBytes} from "../rules/RuleBytes.sol";
import {Merkle} from "./Merkle.sol";

/// @title What every challenge and demand begins with: the result in its window, and openings of its roots
abstract contract Disputed is IDisputed {
    /// @dev What a leaf of a counted root is made of: so many entries of so many bytes.
    struct Rows {
        uint16 entryBytes;
        uint16 entries;
    }

    /// @inheritdoc IDisputed
    uint64 public constant CHUNK_VALUES = 256;
    /// @dev Of a leaf of the contributions root: a commitment and, in the last word, its factor.
    // slither-disable-next-line unused-state
    uint256 internal constant CONTRIBUTION_BYTES = 192;
    /// @dev Server programs are proved for steps up to this one; what claims to have seen more begins anew.
    uint64 internal constant MAX_STEP = 1 << 31;

    /// @inheritdoc IDisputed
    // slither-disable-next-line naming-convention
    ICairn public immutable CAIRN;
    /// @inheritdoc IDisputed
    // slither-disable-next-line naming-convention
    IRules public immutable RULES;

    /// @dev The result in its window.
    function _open(Target calldata target) internal view returns (Dispute memory found) {
        found = CAIRN.dispute(target.modelId, target.number);
        bytes32 resultHash = keccak256(abi.encode(target.result));
        if (found.tally == 0 || found.resultHash != resultHash) {
            revert NotDisputed(target.modelId, target.number, resultHash);
        }
    }

    /// @dev The same, with what it is held against.
    function _openOn(Target calldata target, Basis calldata basis) internal view returns (Dispute memory found) {
        found = _open(target);
        bytes32 rulesHash = keccak256(basis.rules);
        if (rulesHash != found.rulesHash) revert OtherBasis(rulesHash, found.rulesHash);
        bytes32 roots = keccak256(abi.encode(basis.parent));
        if (roots != found.parentRoots) revert OtherBasis(roots, found.parentRoots);
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

    /// @dev A leaf of the contributions root, whatever its bytes are.
    function _requireLeaf(Opening calldata opening, uint64 index, bytes32 root) internal view {
        _requireCounted(opening.counted, root);
        bytes32 hash = Merkle.leafHash(opening.leaf);
        if (!Merkle.includes(hash, index, opening.counted.count, opening.proof, opening.counted.inner)) {
            revert BadProof(root, index);
        }
    }

    /// @dev As a leaf of the contributions root.
    function _hashOf(Contribution calldata c) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0), abi.encode(c)));
    }

    /// @dev Opens a chunk whose length may be anything.
    function _requireChunk(Opening calldata opening, uint64 index, bytes32 root, Rows memory rows) internal view {
        _requireCounted(opening.counted, root);
        uint64 chunks = _chunks(opening.counted.count, rows);
        if (!Merkle.includes(Merkle.leafHash(opening.leaf), index, chunks, opening.proof, opening.counted.inner)) {
            revert BadProof(root, index);
        }
    }

    /// @dev Opens the chunk that an entry stands in, which must have the length its place says.
    /// @return Where the entry's bytes begin in the chunk.
    function _requireEntry(Opening calldata opening, uint64 entry, bytes32 root, Rows memory rows)
        internal
        view
        returns (uint256)
    {
        if (entry >= opening.counted.count) revert BadIndex(entry, opening.counted.count);
        uint64 index = entry / rows.entries;
        _requireChunk(opening, index, root, rows);
        uint256 expected = _chunkBytes(opening.counted.count, index, rows);
        if (opening.leaf.length != expected) revert BadLength(opening.leaf.length, expected);
        return uint256(entry % rows.entries) * rows.entryBytes;
    }

    /// @return bits Of the float32 of a coordinate.
    function _valueAt(Opening calldata opening, uint64 coordinate, bytes32 root) internal view returns (uint32 bits) {
        return _bitsAt(opening.leaf, _requireEntry(opening, coordinate, root, _valueRows()));
    }

    /// @dev float32 values stand little-endian.
    function _bitsAt(bytes calldata chunk, uint256 begin) internal pure returns (uint32) {
        uint32 stored = uint32(bytes4(chunk[begin:begin + 4]));
        stored = ((stored & 0xff00ff00) >> 8) | ((stored & 0x00ff00ff) << 8);
        return (stored >> 16) | (stored << 16);
    }

    function _valueRows() internal pure returns (Rows memory) {
        return Rows(4, uint16(CHUNK_VALUES));
    }

    /// @dev Of a contribution: 256 values, or the bytes of the row that they are packed into.
    function _updateRows(bytes calldata rules) internal pure returns (Rows memory) {
        if (!RuleBytes.isPacked(rules)) return _valueRows();
        return Rows(1, uint16(Packed.rowBytes(RuleBytes.packing(rules))));
    }

    /// @dev Where a coordinate's value stands, or the row that it is packed into begins.
    function _entryOf(uint64 coordinate, Rows memory rows) internal pure returns (uint64) {
        // slither-disable-next-line divide-before-multiply
        return rows.entryBytes == 1 ? coordinate / CHUNK_VALUES * rows.entries : coordinate;
    }

    /// @dev As many whole coordinates as fit into the bytes of a chunk of values.
    function _stateRows(uint8 states) internal pure returns (Rows memory) {
        return Rows(8, uint16(CHUNK_VALUES / 2 - CHUNK_VALUES / 2 % states));
    }

    function _chunks(uint64 entries, Rows memory rows) internal pure returns (uint64) {
        return entries / rows.entries + (entries % rows.entries == 0 ? 0 : 1);
    }

    /// @dev Bytes of a chunk that is there.
    function _chunkBytes(uint64 entries, uint64 index, Rows memory rows) internal pure returns (uint256) {
        uint64 left = entries - index * rows.entries;
        return uint256(rows.entryBytes) * (left < rows.entries ? left : rows.entries);
    }

    /// @dev The sha2-256 of a head. The membership is read for an update alone.
    function _digestOf(Target calldata target, HeadKind kind, Membership calldata membership)
        internal
        pure
        returns (bytes32)
    {
        if (kind == HeadKind.Version) return target.result.versionDigest;
        if (kind == HeadKind.Report) return target.result.reportDigest;
        _requireMember(membership, target.result.contributionsRoot);
        return membership.contribution.digest;
    }

    /// @dev How many a coordinate has. One function, since the code that reads them is long.
    function _statesOf(Basis calldata basis) internal view returns (uint8) {
        return RULES.read(basis.rules).states;
    }

    /// @dev Whether the parent has a state that these rules go on with.
    /// @param kept The layout under these rules; zero for none.
    function _continues(Basis calldata basis, bytes32 kept) internal pure returns (bool) {
        return kept != 0 && basis.parent.state != 0 && basis.parent.stateLayout == kept && basis.parent.step < MAX_STEP;
    }

    /// @dev The root of a blob of the round, and what its leaves are made of. The basis is read for the parent, for
    /// states and for contributions.
    function _rootOf(Target calldata target, Basis calldata basis, Tree tree, Membership calldata membership)
        internal
        view
        returns (bytes32 root, Rows memory rows)
    {
        rows = _valueRows();
        if (tree == Tree.Aggregate) root = target.result.aggregateRoot;
        else if (tree == Tree.Version) root = target.result.roots.tensor;
        else if (tree == Tree.Parent) root = basis.parent.tensor;
        else if (tree == Tree.Contribution) {
            _requireMember(membership, target.result.contributionsRoot);
            root = membership.contribution.tensorRoot;
            rows = _updateRows(basis.rules);
        } else {
            uint8 states = _statesOf(basis);
            if (states == 0) revert NoState();
            rows = _stateRows(states);
            root = tree == Tree.State ? target.result.roots.state : basis.parent.state;
        }
    }
}
