// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AGGREGATOR, ICairn, ModelId, Phase, Plan, Result, RoundId, Standing} from "../interfaces/ICairn.sol";
import {RunningHash} from "./RunningHash.sol";
import {State} from "./State.sol";

/// @title Results: attested by aggregators, agreed by a quorum, finalized by anyone
abstract contract Results is State {
    /// @inheritdoc ICairn
    function attestResult(ModelId modelId, uint64 number, Result calldata result, bytes32 runningHash) external {
        (RoundId roundId, RoundState storage state, Terms memory terms) = _opened(modelId, number);
        _requireAttestable(roundId, terms);
        _requireRole(modelId, _members[modelId][msg.sender], msg.sender, AGGREGATOR);
        if (runningHash != state.runningHash) revert RunningHashMismatch(runningHash, state.runningHash);
        _requireCommitted(result.contributions, RunningHash.count(runningHash), terms);
        Plan storage rules = _plans[modelId][terms.planIndex];
        (uint16 quorum, uint32 challengeDuration) = (rules.quorum, rules.challengeDuration);
        _requireValid(modelId, result, rules.minContributions);

        bytes32 resultHash = keccak256(abi.encode(result));
        bytes32 tally = _tally(state, terms.flags, resultHash);
        uint32 count = _move(modelId, roundId, state, tally, result.contributions);
        // Votes rise one by one, and none is cast once the quorum is there: the quorum is met exactly.
        bool agreed = count == quorum;
        if (agreed) {
            terms.challengeDeadline = uint40(block.timestamp) + challengeDuration;
            terms.contributions = result.contributions;
            state.resultHash = resultHash;
        } else {
            state.votes[tally] = Votes(count, result.contributions, Standing.Sound);
        }
        // A bit test, which slither takes for a comparison of balances or times.
        // slither-disable-next-line incorrect-equality,timestamp
        if (agreed || terms.flags & ATTESTED == 0) {
            terms.flags |= ATTESTED;
            state.terms = terms;
        }
        emit ResultAttested(roundId, msg.sender, resultHash, result, count);
        if (agreed) emit QuorumReached(roundId, resultHash, terms.challengeDeadline);

        if (terms.flags & BONDED != 0) COURT.lockBond(modelId, number, msg.sender, rules.bondGwei);
    }

    /// @inheritdoc ICairn
    function finalizeRound(ModelId modelId, uint64 number, Result calldata result) external {
        (RoundId roundId, RoundState storage state, Terms memory terms) = _opened(modelId, number);
        _requireNotFinalized(roundId, terms);
        _requirePhase(roundId, Phase.Final, _phase(terms));
        bytes32 resultHash = keccak256(abi.encode(result));
        if (resultHash != state.resultHash) revert ResultMismatch(resultHash, state.resultHash);

        state.terms.flags = terms.flags | FINALIZED;
        // The head has not moved since the round opened: nothing else may move it while a round is open.
        bytes32 parent = _models[modelId].head;
        _models[modelId].head = result.versionDigest;
        VersionState storage made = _versions[modelId][result.versionDigest];
        made.parent = parent;
        made.roots = keccak256(abi.encode(result.roots));
        emit RoundFinalized(modelId, number, roundId, result.versionDigest, result.roots, parent);
    }

    /// @inheritdoc ICairn
    function attestation(ModelId modelId, uint64 number, address aggregator) external view returns (bytes32) {
        return _rounds[_roundId(modelId, number)].attestations[aggregator];
    }

    /// @inheritdoc ICairn
    function votes(ModelId modelId, uint64 number, bytes32 resultHash)
        external
        view
        returns (uint32 count, uint32 contributions)
    {
        RoundState storage state = _rounds[_roundId(modelId, number)];
        Terms memory terms = state.terms;
        if (terms.challengeDeadline != 0 && resultHash == state.resultHash) {
            return (_plans[modelId][terms.planIndex].quorum, terms.contributions);
        }
        Votes memory held = state.votes[_tally(state, terms.flags, resultHash)];
        return (held.count, held.contributions);
    }

    /// @dev Moves the caller's attestation to this tally and returns how many stand there then. On each path of moves
    /// contributions never fall, and tallies fall while contributions stay, so nobody moves for ever.
    function _move(ModelId modelId, RoundId roundId, RoundState storage state, bytes32 tally, uint32 contributions)
        private
        returns (uint32 count)
    {
        Votes memory joined = state.votes[tally];
        if (joined.standing != Standing.Sound) revert ResultIsConvicted(roundId, tally);
        bytes32 current = state.attestations[msg.sender];
        if (current != 0) {
            Votes storage left = state.votes[current];
            // Whoever attested a void result has lost the role, also before `expel` says so.
            if (left.standing != Standing.Sound) _refuseRole(modelId, msg.sender, AGGREGATOR);
            uint32 held = left.contributions;
            if (contributions < held || (contributions == held && tally >= current)) revert NotBetter(current, tally);
            left.count -= 1;
        }
        state.attestations[msg.sender] = tally;
        return joined.count + 1;
    }

    function _requireAttestable(RoundId roundId, Terms memory terms) private view {
        Phase actual = _phase(terms);
        if (actual == Phase.Publish && terms.flags & ENDED_EARLY != 0) return;
        _requirePhase(roundId, Phase.Aggregate, actual);
    }

    /// @dev In a phase in which a result may be attested. In phase Publish the others may still publish what they
    /// committed, so none may be left out.
    function _requireCommitted(uint32 contributions, uint32 commitments, Terms memory terms) private view {
        if (contributions > commitments) revert TooManyContributions(contributions, commitments);
        if (contributions != commitments && _phase(terms) == Phase.Publish) {
            revert IncompleteEarlyResult(contributions, commitments);
        }
    }

    function _requireValid(ModelId modelId, Result calldata result, uint32 minContributions) private view {
        if (result.versionDigest == 0 || result.reportDigest == 0) revert ZeroDigest();
        if (result.aggregateRoot == 0 || result.contributionsRoot == 0) revert ZeroRoot();
        if (result.roots.tensor == 0 || result.roots.rest == 0) revert ZeroRoot();
        if (result.contributions < minContributions) {
            revert TooFewContributions(result.contributions, minContributions);
        }
        uint256 least = result.contributions;
        _within(BadTotalWeight.selector, result.totalWeight, least, MAX_WEIGHT);
        _within(BadTotalSteps.selector, result.totalSteps, least, MAX_TOTAL_STEPS);
        _within(WrongDivisor.selector, result.divisor, 1, MAX_WEIGHT);
        if (_versions[modelId][result.versionDigest].parent != 0) revert VersionExists(modelId, result.versionDigest);
    }

    /// @dev Reverts with an error of three words: the value and its bounds. One function, since each such revert is long.
    function _within(bytes4 selector, uint256 value, uint256 low, uint256 high) private pure {
        if (value >= low && value <= high) return;
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, selector)
            mstore(add(data, 4), value)
            mstore(add(data, 36), low)
            mstore(add(data, 68), high)
            revert(data, 100)
        }
    }
}
