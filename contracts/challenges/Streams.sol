// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute, Result} from "../interfaces/ICairn.sol";
import {Commitment, IChallenges, Middle, Step, Sum, Window} from "../interfaces/IChallenges.sol";
import {Fault, Part} from "../interfaces/ICourt.sol";
import {Basis, Contribution, Opening, Target} from "../interfaces/IDisputed.sol";
import {RunningHash} from "../modules/RunningHash.sol";
import {RuleBytes} from "../rules/RuleBytes.sol";
import {Challenge} from "./Challenge.sol";
import {Columns} from "./Columns.sol";
import {Grid} from "./Grid.sol";
import {Merkle} from "./Merkle.sol";

/// @title Multi-transaction fraud proofs with stored progress
/// @dev For proofs over all contributions or commitments, which may not fit into one transaction. Storage keeps a hash
/// of each sender's progress: nobody can spoil or copy another's. The list is rebuilt as it goes, and is the round's
/// only if its Merkle root, or its running hash, equals the anchored one.
abstract contract Streams is Challenge {
    /// @dev Room for one more peak than a count of 32 bits has ones.
    uint256 private constant MOST_PEAKS = 33;
    uint64 private constant NO_COORDINATE = type(uint64).max;
    /// @dev What a leaf of another length than a contribution's begins with: nobody committed it.
    bytes32 private constant NO_COMMITMENT = bytes32(type(uint256).max);

    mapping(address challenger => mapping(bytes32 work => bytes32 progress)) private _progress;

    /// @dev `Sum` while it is worked on.
    struct Adding {
        uint32 next;
        uint64 weight;
        uint64 steps;
        uint64 factor;
        int256 sum;
        Middle middle;
        Window window;
        uint256 height;
        bytes32[] peaks;
    }

    /// @inheritdoc IChallenges
    function addContributions(
        Target calldata target,
        Basis calldata basis,
        uint64 coordinate,
        Sum calldata progress,
        Step[] calldata steps
    ) external {
        Dispute memory found = coordinate == NO_COORDINATE ? _open(target) : _openValues(target, basis);
        bytes32 work = _sumWork(found, coordinate);
        Adding memory s = _resume(work, progress);
        _addAll(target, basis, coordinate, s, steps);
        bytes32[] memory peaks = s.peaks;
        uint256 height = s.height;
        // Cut to its length: it had room to grow.
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            mstore(peaks, height)
        }
        _progress[msg.sender][work] = keccak256(
            abi.encode(Sum(s.next, s.weight, s.steps, s.factor, s.sum, s.middle, s.window, peaks))
        );
        emit ChallengeAdvanced(found.roundId, found.tally, msg.sender, s.next);
        if (steps.length != 0) CAIRN.extendWindow(target.modelId, target.number);
    }

    /// @inheritdoc IChallenges
    function convictAggregate(
        Target calldata target,
        Basis calldata basis,
        uint64 coordinate,
        Sum calldata progress,
        Step[] calldata steps,
        Opening calldata aggregate
    ) external {
        Dispute memory found = _openValues(target, basis);
        Adding memory s = _finish(target, basis, found, coordinate, progress, steps);
        // All ones lies past the end of any blob: numbers alone get no further.
        int256 q = _integerAt(basis.rules, aggregate, coordinate, target.result.aggregateRoot, _valueRows());
        int256 right = _right(basis.rules, s, target.result.divisor);
        if (q == right) revert NothingWrong(Fault.Aggregate);
        _convict(target, found, Wrong(Fault.Aggregate, Part.Values, coordinate / CHUNK_VALUES));
    }

    /// @inheritdoc IChallenges
    function convictTotal(Target calldata target, Basis calldata basis, Sum calldata progress, Step[] calldata steps)
        external
    {
        Dispute memory found = _openOn(target, basis);
        Adding memory s = _finish(target, basis, found, NO_COORDINATE, progress, steps);
        Result calldata r = target.result;
        bool divided = RuleBytes.isSelect(basis.rules) ? s.factor <= r.divisor : s.factor == r.divisor;
        if (RuleBytes.isSelectColumns(basis.rules)) divided = divided && s.factor >= RuleBytes.kept(basis.rules, s.next);
        if (s.weight == r.totalWeight && s.steps == r.totalSteps && divided) revert NothingWrong(Fault.Total);
        _convict(target, found, Wrong(Fault.Total, Part.Whole, 0));
    }

    /// @inheritdoc IChallenges
    function replayCommitments(
        Target calldata target,
        bytes32 sought,
        bytes32 running,
        Commitment[] calldata commitments
    ) external {
        Dispute memory found = _open(target);
        bytes32 work = _replayWork(found, sought);
        _progress[msg.sender][work] = _replay(found, work, sought, running, commitments);
        emit ChallengeAdvanced(found.roundId, found.tally, msg.sender, uint32(commitments.length));
        if (commitments.length != 0) CAIRN.extendWindow(target.modelId, target.number);
    }

    /// @inheritdoc IChallenges
    function convictUncommitted(
        Target calldata target,
        uint64 index,
        Opening calldata opening,
        bytes32 running,
        Commitment[] calldata commitments
    ) external {
        Dispute memory found = _open(target);
        _requireLeaf(opening, index, target.result.contributionsRoot);
        bytes32 sought = _committedIn(opening.leaf);
        running = _replay(found, _replayWork(found, sought), sought, running, commitments);
        if (running != found.runningHash) revert OtherList(running, found.runningHash);
        _convict(target, found, Wrong(Fault.Uncommitted, Part.Whole, 0));
    }

    function _finish(
        Target calldata target,
        Basis calldata basis,
        Dispute memory found,
        uint64 coordinate,
        Sum calldata progress,
        Step[] calldata steps
    ) private view returns (Adding memory s) {
        s = _resume(_sumWork(found, coordinate), progress);
        _addAll(target, basis, coordinate, s, steps);
        uint32 contributions = target.result.contributions;
        if (s.next != contributions) revert TooFewSteps(s.next, contributions);
        bytes32 root = Merkle.countedRoot(s.next, Merkle.rootOf(s.peaks, s.height));
        if (root != target.result.contributionsRoot) revert OtherList(root, target.result.contributionsRoot);
    }

    function _resume(bytes32 work, Sum calldata progress) private view returns (Adding memory s) {
        if (progress.next == 0) {
            bool zeros = (progress.weight | progress.steps | progress.factor) == 0 && progress.sum == 0
                && Columns.isEmpty(progress.middle, progress.window);
            if (!zeros || progress.peaks.length != 0) revert BadProgress(msg.sender);
        } else if (_progress[msg.sender][work] != keccak256(abi.encode(progress))) {
            revert BadProgress(msg.sender);
        }
        s.next = progress.next;
        s.weight = progress.weight;
        s.steps = progress.steps;
        s.factor = progress.factor;
        s.sum = progress.sum;
        s.middle = progress.middle;
        s.window = progress.window;
        s.height = progress.peaks.length;
        s.peaks = new bytes32[](MOST_PEAKS);
        for (uint256 i = 0; i < s.height; ++i) {
            s.peaks[i] = progress.peaks[i];
        }
    }

    function _addAll(
        Target calldata target,
        Basis calldata basis,
        uint64 coordinate,
        Adding memory s,
        Step[] calldata steps
    ) private view {
        if (steps.length > target.result.contributions - s.next) {
            revert TooManySteps(s.next, target.result.contributions);
        }
        Rows memory rows = coordinate == NO_COORDINATE ? _valueRows() : _updateRows(basis.rules);
        for (uint256 i = 0; i < steps.length; ++i) {
            Contribution calldata c = steps[i].contribution;
            s.height = Merkle.grow(s.peaks, s.height, s.next, _hashOf(c));
            if (coordinate != NO_COORDINATE) {
                int256 q = _integerAt(basis.rules, steps[i].chunk, coordinate, c.tensorRoot, rows);
                if (RuleBytes.isColumns(basis.rules)) {
                    s.sum += Columns.place(s.middle, q);
                } else if (!RuleBytes.isSelectColumns(basis.rules)) {
                    s.sum += int256(uint256(c.factor)) * q;
                } else if (c.factor != 0) {
                    s.sum += Columns.place(s.middle, s.window, q);
                }
            }
            s.weight += c.weight;
            s.steps += c.steps;
            s.factor += c.factor;
            ++s.next;
        }
    }

    /// @dev What the rules make of a coordinate's values.
    function _right(bytes calldata rules, Adding memory s, uint256 divisor) private pure returns (int256) {
        if (RuleBytes.isColumns(rules)) {
            return Columns.meanOfMiddle(s.middle, s.sum, s.next, RuleBytes.cut(rules, s.next));
        }
        if (!RuleBytes.isSelectColumns(rules)) return Grid.mean(s.sum, divisor);
        // There are as many selected values as factors of one.
        return Columns.meanOfNearest(s.middle, s.window, s.sum, s.factor, RuleBytes.kept(rules, s.factor));
    }

    function _replay(
        Dispute memory found,
        bytes32 work,
        bytes32 sought,
        bytes32 running,
        Commitment[] calldata commitments
    ) private view returns (bytes32) {
        if (running == 0) {
            running = found.firstHash;
        } else if (_progress[msg.sender][work] != running) {
            revert BadProgress(msg.sender);
        }
        for (uint256 i = 0; i < commitments.length; ++i) {
            Commitment calldata c = commitments[i];
            if (keccak256(abi.encode(c)) == sought) revert ItIsCommitted(c.participant);
            running = RunningHash.extend(running, c.participant, c.digest, c.tensorRoot, c.weight, c.steps);
        }
        return running;
    }

    /// @dev The commitment that a leaf begins with.
    function _committedIn(bytes calldata leaf) private pure returns (bytes32) {
        return leaf.length == CONTRIBUTION_BYTES ? keccak256(leaf[:leaf.length - 32]) : NO_COMMITMENT;
    }

    function _sumWork(Dispute memory found, uint64 coordinate) private pure returns (bytes32) {
        return keccak256(abi.encode(found.roundId, found.tally, coordinate));
    }

    function _replayWork(Dispute memory found, bytes32 sought) private pure returns (bytes32) {
        return keccak256(abi.encode(found.roundId, found.tally, sought));
    }
}
