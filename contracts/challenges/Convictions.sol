// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute, Roots} from "../interfaces/ICairn.sol";
import {Before, IChallenges, SegmentKind, Segment} from "../interfaces/IChallenges.sol";
import {Fault, Part} from "../interfaces/ICourt.sol";
import {Basis, Counted, Membership, Opening, Target, Tree} from "../interfaces/IDisputed.sol";
import {Scalars} from "../interfaces/IRules.sol";
import {RuleBytes} from "../rules/RuleBytes.sol";
import {Challenge} from "./Challenge.sol";
import {Grid} from "./Grid.sol";
import {Merkle} from "./Merkle.sol";

/// @title Single-transaction fraud proofs
/// @dev Each function re-executes one step of the aggregation or of the server program on one coordinate (a one-step
/// proof), or compares two anchored values, and convicts the result if they differ.
abstract contract Convictions is Challenge {
    /// @dev Between them a step of 25 bits is exactly a finite float32.
    int256 private constant MIN_EXPONENT = -149;
    int256 private constant MAX_EXPONENT = 103;

    /// @inheritdoc IChallenges
    function convictCount(Target calldata target, Counted calldata counted) external {
        Dispute memory found = _open(target);
        _requireCounted(counted, target.result.contributionsRoot);
        if (counted.count == target.result.contributions) revert NothingWrong(Fault.Count);
        _convict(target, found, Wrong(Fault.Count, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function convictOrder(Target calldata target, Membership calldata left, Membership calldata right) external {
        if (right.index == 0 || left.index != right.index - 1) revert BadIndex(left.index, right.index);
        _convictPair(
            target, left, right, left.contribution.participant < right.contribution.participant, Fault.Order
        );
    }

    /// @inheritdoc IChallenges
    function convictTwice(Target calldata target, Membership calldata left, Membership calldata right) external {
        if (left.index == right.index) revert BadIndex(left.index, right.index);
        _convictPair(target, left, right, left.contribution.digest != right.contribution.digest, Fault.Twice);
    }

    /// @inheritdoc IChallenges
    function convictFactor(Target calldata target, Basis calldata basis, uint64 index, Opening calldata opening) external {
        Dispute memory found = _openOn(target, basis);
        _requireLeaf(opening, index, target.result.contributionsRoot);
        bytes calldata leaf = opening.leaf;
        if (leaf.length != CONTRIBUTION_BYTES) revert BadLength(leaf.length, CONTRIBUTION_BYTES);
        // Words, not fields: a list may say more than fits into a field.
        uint256 weight = uint256(bytes32(leaf[96:128]));
        uint256 factor = uint256(bytes32(leaf[160:192]));
        bool selects = RuleBytes.selects(basis.rules);
        bool shares = RuleBytes.isSelect(basis.rules);
        uint256 most = !RuleBytes.uniform(basis.rules) ? weight : shares ? RuleBytes.SHARE : 1;
        if (selects ? factor <= most : factor == most) revert NothingWrong(Fault.Factor);
        _convict(target, found, Wrong(Fault.Factor, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function convictRoots(Target calldata target, Basis calldata basis) external {
        Dispute memory found = _openOn(target, basis);
        Roots calldata made = target.result.roots;
        bytes32 kept = RULES.layoutOf(basis.rules);
        bool stateful = kept != 0;
        uint64 step = stateful ? _stepBefore(basis, kept) + 1 : 0;
        bool follows = made.rest == basis.parent.rest && made.stateLayout == kept && made.step == step
            && (made.state != 0) == stateful;
        if (follows) revert NothingWrong(Fault.Roots);
        _convict(target, found, Wrong(Fault.Roots, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function convictSize(
        Target calldata target,
        Basis calldata basis,
        Tree tree,
        Counted calldata counted,
        Membership calldata membership
    ) external {
        Dispute memory found = _openOn(target, basis);
        // Of a state that begins anew nobody here answers for what the parent has.
        if (tree == Tree.ParentState && !_continues(basis, RULES.layoutOf(basis.rules))) revert BadTree(tree);
        (bytes32 root, Rows memory rows) = _rootOf(target, basis, tree, membership);
        _requireCounted(counted, root);
        uint64 expected = RuleBytes.values(basis.rules);
        if (tree == Tree.State || tree == Tree.ParentState) expected *= _statesOf(basis);
        if (rows.entryBytes == 1) {
            // Rows are counted whole.
            // slither-disable-next-line divide-before-multiply
            expected = (expected + CHUNK_VALUES - 1) / CHUNK_VALUES * rows.entries;
        }
        if (counted.count == expected) revert NothingWrong(Fault.Size);
        _convict(target, found, Wrong(Fault.Size, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function convictChunk(
        Target calldata target,
        Basis calldata basis,
        Tree tree,
        Membership calldata membership,
        uint64 coordinate,
        Opening calldata opening
    ) external {
        // Both were anchored before the round: its attesters do not answer for them.
        if (tree == Tree.Parent || tree == Tree.ParentState) revert BadTree(tree);
        Dispute memory found = _openOn(target, basis);
        (bytes32 root, Rows memory rows) = _rootOf(target, basis, tree, membership);
        uint64 entry = tree == Tree.State ? coordinate * _statesOf(basis) : _entryOf(coordinate, rows);
        uint64 index = entry / rows.entries;
        _requireChunk(opening, index, root, rows);
        if (opening.leaf.length == _chunkBytes(opening.counted.count, index, rows)) {
            uint64 count = opening.counted.count;
            if (entry >= count) revert BadIndex(entry, count);
            // What a version or a state holds is compared, not constrained.
            if (tree == Tree.Version || tree == Tree.State) revert NothingWrong(Fault.Chunk);
            // Which integer it is, is not asked.
            // slither-disable-next-line unused-return
            (bool canonical,) = _valueIn(basis.rules, opening.leaf, coordinate, rows, true);
            if (canonical) revert NothingWrong(Fault.Chunk);
        }
        _convict(target, found, Wrong(Fault.Chunk, Part.Values, coordinate / CHUNK_VALUES));
    }

    /// @inheritdoc IChallenges
    function convictVersion(
        Target calldata target,
        Basis calldata basis,
        Before calldata before,
        Opening calldata version
    ) external {
        Dispute memory found = _openOn(target, basis);
        // slither-disable-next-line unused-return
        (uint32 bits,) = _after(target, basis, before);
        if (_valueAt(version, before.coordinate, target.result.roots.tensor) == bits) {
            revert NothingWrong(Fault.Version);
        }
        _convictAt(target, found, Fault.Version, before.coordinate);
    }

    /// @inheritdoc IChallenges
    function convictState(Target calldata target, Basis calldata basis, Before calldata before, Opening calldata state)
        external
    {
        Dispute memory found = _openOn(target, basis);
        // slither-disable-next-line unused-return
        (, int256[] memory next) = _after(target, basis, before);
        uint8 states = uint8(next.length);
        if (states == 0) revert NoState();
        int256[] memory shown = _statesAt(state, before.coordinate, target.result.roots.state, states);
        if (keccak256(abi.encode(shown)) == keccak256(abi.encode(next))) revert NothingWrong(Fault.State);
        _convictAt(target, found, Fault.State, before.coordinate);
    }

    /// @dev Two leaves of the contributions root that do not go together.
    function _convictPair(
        Target calldata target,
        Membership calldata left,
        Membership calldata right,
        bool together,
        Fault fault
    ) private {
        Dispute memory found = _open(target);
        _requireMember(left, target.result.contributionsRoot);
        _requireMember(right, target.result.contributionsRoot);
        if (together) revert NothingWrong(fault);
        _convict(target, found, Wrong(fault, Part.Whole, 0));
    }

    function _convictAt(Target calldata target, Dispute memory found, Fault fault, uint64 coordinate) private {
        _convict(target, found, Wrong(fault, Part.Values, coordinate / CHUNK_VALUES));
    }

    /// @dev What the rules make of a coordinate: bits of the version's value, and the states.
    function _after(Target calldata target, Basis calldata basis, Before calldata before)
        private
        view
        returns (uint32 bits, int256[] memory next)
    {
        _requireSegment(before.segment, before.coordinate, RuleBytes.segments(basis.rules));
        uint32 w = _valueAt(before.parent, before.coordinate, basis.parent.tensor);
        if (!Grid.isFinite(w)) revert NotFinite(before.coordinate);
        int256 d;
        int256 exponent;
        (d, exponent, next) = _step(target, basis, before);
        if (exponent < MIN_EXPONENT || exponent > MAX_EXPONENT) revert BadExponent(exponent);
        bits = Grid.step(w, d, exponent);
        if (before.segment.kind == SegmentKind.NonNegative && bits >> 31 != 0) bits = 0;
    }

    /// @dev The step d * 2^exponent that a coordinate makes, and its states after it.
    function _step(Target calldata target, Basis calldata basis, Before calldata before)
        private
        view
        returns (int256 d, int256 exponent, int256[] memory next)
    {
        d = _integerAt(basis.rules, before.aggregate, before.coordinate, target.result.aggregateRoot, _valueRows());
        exponent = int256(before.segment.exponent) - int256(uint256(RuleBytes.gridBits(basis.rules)));
        next = _statesBefore(basis, before);
        if (before.segment.kind != SegmentKind.Parameter) return (d, exponent, next);
        exponent -= int256(uint256(RULES.read(basis.rules).fractionBits));
        (d, next) = RULES.serverStep(basis.rules, d, next, _scalars(target, basis));
    }

    function _requireSegment(Segment calldata s, uint64 coordinate, bytes32 root) private pure {
        _requireCounted(s.counted, root);
        bytes32 leaf = sha256(abi.encodePacked(bytes1(0), s.first, s.length, s.exponent, s.kind));
        if (!Merkle.includes(leaf, s.index, s.counted.count, s.proof, s.counted.inner)) revert BadProof(root, s.index);
        if (coordinate < s.first || coordinate - s.first >= s.length) revert BadSegment(s.first, s.length);
    }

    /// @dev The parent's states, or the initial ones where its state is none of these rules.
    function _statesBefore(Basis calldata basis, Before calldata before) private view returns (int256[] memory) {
        if (!_continues(basis, RULES.layoutOf(basis.rules))) return RULES.initialStates(basis.rules);
        uint8 states = _statesOf(basis);
        return _statesAt(before.state, before.coordinate, basis.parent.state, states);
    }

    function _scalars(Target calldata target, Basis calldata basis) private view returns (Scalars memory) {
        return Scalars({
            step: _stepBefore(basis, RULES.layoutOf(basis.rules)) + 1,
            contributions: target.result.contributions,
            totalWeight: target.result.totalWeight,
            totalSteps: target.result.totalSteps
        });
    }

    function _stepBefore(Basis calldata basis, bytes32 kept) private pure returns (uint64) {
        return _continues(basis, kept) ? basis.parent.step : 0;
    }
}
