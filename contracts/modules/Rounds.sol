// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AGGREGATOR, ICairn, Member, ModelId, PARTICIPANT, Phase, Plan, Round, RoundId} from "../interfaces/ICairn.sol";
import {RunningHash} from "./RunningHash.sol";
import {State} from "./State.sol";

/// @title Rounds: opening, ending commits early, cancelling
abstract contract Rounds is State {
    /// @inheritdoc ICairn
    function openRound(ModelId modelId) external returns (uint64 number) {
        ModelState storage state = _models[modelId];
        _requireOpener(modelId, state.owner);
        if (state.suspended) revert RoundsAreSuspended(modelId);
        if (state.plans == 0) revert NoPlan(modelId);
        number = state.rounds;
        _requireEnded(modelId, number);
        _requireExpelled(_roundId(modelId, number));

        state.rounds = ++number;
        _open(modelId, number, state.head, state.plans - 1);
    }

    /// @inheritdoc ICairn
    function endCommits(ModelId modelId, uint64 number, address[] calldata participants) external {
        (RoundId roundId, RoundState storage state, Terms memory terms) = _opened(modelId, number);
        _requirePhase(roundId, Phase.Commit, _phase(terms));
        Plan storage rules = _plans[modelId][terms.planIndex];
        uint32 enough = rules.enoughCommitments;
        if (participants.length == 0 && enough != 0) {
            uint32 commitments = RunningHash.count(state.runningHash);
            if (commitments < enough) revert TooFewCommitments(commitments, enough);
            uint40 earliest = terms.commitDeadline - rules.commitDuration + rules.leastCommitDuration;
            // slither-disable-next-line timestamp
            if (block.timestamp < earliest) revert TooEarlyToEnd(earliest);
        } else {
            _requireAllCommitted(modelId, number, participants);
        }

        uint40 saved = terms.commitDeadline - uint40(block.timestamp);
        terms.commitDeadline -= saved;
        terms.publishDeadline -= saved;
        terms.aggregateDeadline -= saved;
        terms.flags |= ENDED_EARLY;
        state.terms = terms;
        emit CommitsEnded(
            roundId,
            RunningHash.count(state.runningHash),
            terms.commitDeadline,
            terms.publishDeadline,
            terms.aggregateDeadline
        );
    }

    /// @inheritdoc ICairn
    function cancelRound(ModelId modelId, uint64 number) external {
        (RoundId roundId, RoundState storage state, Terms memory terms) = _opened(modelId, number);
        if (terms.flags & CANCELLED != 0) revert AlreadyCancelled(roundId);
        _requireNotFinalized(roundId, terms);
        if (_phase(terms) != Phase.Cancelled) {
            _owned(modelId);
            if (terms.flags & ATTESTED != 0) revert AlreadyAttested(roundId);
        }

        state.terms.flags = terms.flags | CANCELLED;
        emit RoundCancelled(modelId, number, roundId);
    }

    /// @inheritdoc ICairn
    function round(ModelId modelId, uint64 number) external view returns (Round memory) {
        RoundState storage state = _rounds[_roundId(modelId, number)];
        Terms memory terms = state.terms;
        bool opened = terms.commitDeadline != 0;
        return Round({
            commitDeadline: terms.commitDeadline,
            publishDeadline: terms.publishDeadline,
            aggregateDeadline: terms.aggregateDeadline,
            challengeDeadline: terms.challengeDeadline,
            weightCap: terms.weightCap,
            quorum: opened ? _plans[modelId][terms.planIndex].quorum : 0,
            planIndex: terms.planIndex,
            cancelled: terms.flags & CANCELLED != 0,
            attested: terms.flags & ATTESTED != 0,
            finalized: terms.flags & FINALIZED != 0,
            runningHash: state.runningHash,
            resultHash: state.resultHash,
            commitments: RunningHash.count(state.runningHash),
            endedEarly: terms.flags & ENDED_EARLY != 0,
            extended: terms.flags & EXTENDED != 0,
            unexpelled: state.unexpelled
        });
    }

    /// @inheritdoc ICairn
    function phase(ModelId modelId, uint64 number) external view returns (Phase) {
        return _phase(_rounds[_roundId(modelId, number)].terms);
    }

    /// @inheritdoc ICairn
    function roundIdOf(ModelId modelId, uint64 number) external pure returns (RoundId) {
        return _roundId(modelId, number);
    }

    function _open(ModelId modelId, uint64 number, bytes32 parent, uint24 planIndex) private {
        Plan memory rules = _rules(modelId, planIndex);
        RoundId roundId = _roundId(modelId, number);
        uint40 commitDeadline = uint40(block.timestamp) + rules.commitDuration;
        uint40 publishDeadline = commitDeadline + rules.publishDuration;
        Terms memory terms = Terms({
            commitDeadline: commitDeadline,
            publishDeadline: publishDeadline,
            aggregateDeadline: publishDeadline + rules.aggregateDuration,
            challengeDeadline: 0,
            weightCap: rules.weightCap,
            contributions: 0,
            planIndex: planIndex,
            flags: (rules.hooks.length == 0 ? 0 : HOOKED) | (rules.bondGwei == 0 ? 0 : BONDED)
        });
        bytes32 runningHash = _firstHash(roundId, parent, rules);

        RoundState storage state = _rounds[roundId];
        state.terms = terms;
        state.runningHash = runningHash;
        emit RoundOpened(
            modelId,
            number,
            roundId,
            parent,
            planIndex,
            terms.commitDeadline,
            terms.publishDeadline,
            terms.aggregateDeadline,
            runningHash
        );
    }

    function _requireExpelled(RoundId last) private view {
        RoundState storage state = _rounds[last];
        if (state.terms.flags & VOIDED == 0) return;
        uint32 unexpelled = state.unexpelled;
        if (unexpelled != 0) revert NotExpelled(last, unexpelled);
    }

    function _requireOpener(ModelId modelId, address owner) private view {
        if (owner == address(0)) revert UnknownModel(modelId);
        if (owner == msg.sender) return;
        _requireRole(modelId, _members[modelId][msg.sender], msg.sender, PARTICIPANT | AGGREGATOR);
    }

    /// @dev Ascending, each a participant, as many as there are: so it is all of them, each once.
    function _requireAllCommitted(ModelId modelId, uint64 number, address[] calldata participants) private view {
        uint32 expected = _models[modelId].participants;
        if (participants.length == 0 || participants.length != expected) {
            revert WrongParticipantCount(participants.length, expected);
        }
        address previous = address(0);
        for (uint256 i = 0; i < participants.length; ++i) {
            address next = participants[i];
            if (next <= previous) revert NotAscending(previous, next);
            Member memory held = _members[modelId][next];
            _requireRole(modelId, held, next, PARTICIPANT);
            if (held.lastRound != number) revert NotCommitted(_roundId(modelId, number), next);
            previous = next;
        }
    }
}
