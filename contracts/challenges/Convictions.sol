// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Fault, Part} from "../interfaces/ICourt.sol";
import {Counted, Membership, Opening, Target, Tree} from "../interfaces/IDisputed.sol";
import {Challenge} from "./Challenge.sol";
import {Grid} from "./Grid.sol";

/// @title Challenges that need one transaction
abstract contract Convictions is Challenge {
    /// @inheritdoc IChallenges
    function convictCount(Target calldata target, Counted calldata counted) external {
        Dispute memory found = _open(target);
        _requireCounted(counted, target.result.contributionsRoot);
        if (counted.count == target.result.contributions) revert NothingWrong(Fault.Count);
        _convict(target, found, Wrong(Fault.Count, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function convictOrder(Target calldata target, Membership calldata left, Membership calldata right) external {
        Dispute memory found = _open(target);
        _requireMember(left, target.result.contributionsRoot);
        _requireMember(right, target.result.contributionsRoot);
        if (right.index == 0 || left.index != right.index - 1) revert BadIndex(left.index, right.index);
        if (left.contribution.participant < right.contribution.participant) revert NothingWrong(Fault.Order);
        _convict(target, found, Wrong(Fault.Order, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function convictRoot(Target calldata target) external {
        Dispute memory found = _openStep(target);
        if ((target.result.versionRoot == 0) == (found.parentRoot == 0)) revert NothingWrong(Fault.Root);
        _convict(target, found, Wrong(Fault.Root, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function convictSize(
        Target calldata target,
        Counted calldata aggregate,
        Tree tree,
        Counted calldata counted,
        Membership calldata membership
    ) external {
        Dispute memory found = tree == Tree.Contribution ? _openMean(target) : _openStep(target);
        _requireCounted(aggregate, target.result.aggregateRoot);
        _requireCounted(counted, _rootOf(target, found, tree, membership));
        if (aggregate.count == counted.count) revert NothingWrong(Fault.Size);
        _convict(target, found, Wrong(Fault.Size, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function convictChunk(
        Target calldata target,
        Tree tree,
        Membership calldata membership,
        uint64 coordinate,
        Opening calldata opening
    ) external {
        // A parent was anchored before the round: its attesters do not answer for it.
        if (tree == Tree.Parent) revert BadTree(tree);
        Dispute memory found = tree == Tree.Version ? _openStep(target) : _openMean(target);
        uint64 index = coordinate / CHUNK_VALUES;
        _requireChunk(opening, index, _rootOf(target, found, tree, membership));
        if (opening.leaf.length == _chunkBytes(opening.counted.count, index)) {
            uint64 count = opening.counted.count;
            if (coordinate >= count) revert BadIndex(coordinate, count);
            // What a version holds is compared, not constrained.
            if (tree == Tree.Version) revert NothingWrong(Fault.Chunk);
            uint32 bits = _bitsAt(opening.leaf, coordinate % CHUNK_VALUES);
            // Which integer it is, is not asked.
            // slither-disable-next-line unused-return
            (bool canonical,) = Grid.toInteger(bits, found.gridBits);
            if (canonical) revert NothingWrong(Fault.Chunk);
        }
        _convict(target, found, Wrong(Fault.Chunk, Part.Values, index));
    }

    /// @inheritdoc IChallenges
    function convictVersion(
        Target calldata target,
        uint64 coordinate,
        Opening calldata parent,
        Opening calldata aggregate,
        Opening calldata version
    ) external {
        Dispute memory found = _openStep(target);
        uint32 w = _valueAt(parent, coordinate, found.parentRoot);
        if (!Grid.isFinite(w)) revert NotFinite(coordinate);
        uint32 x = _valueAt(aggregate, coordinate, target.result.aggregateRoot);
        // slither-disable-next-line unused-return
        (bool canonical,) = Grid.toInteger(x, found.gridBits);
        if (!canonical) revert NotOnGrid(coordinate);
        if (_valueAt(version, coordinate, target.result.versionRoot) == Grid.add(w, x)) {
            revert NothingWrong(Fault.Version);
        }
        _convict(target, found, Wrong(Fault.Version, Part.Values, coordinate / CHUNK_VALUES));
    }
}
