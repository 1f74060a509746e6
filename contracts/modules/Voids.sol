// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AGGREGATOR, Dispute, ICairn, Member, ModelId, Phase, Plan, RoundId, Standing} from "../interfaces/ICairn.sol";
import {State} from "./State.sol";

/// @title Voids: what becomes of a result, and of those who attested it, when it does not stand
abstract contract Voids is State {
    /// @inheritdoc ICairn
    function extendWindow(ModelId modelId, uint64 number) external {
        if (msg.sender != address(CHALLENGES) && msg.sender != address(COURT)) revert NotPartner(msg.sender);
        (RoundId roundId, RoundState storage state, Terms memory terms) = _challenged(modelId, number);
        if (terms.flags & EXTENDED != 0) return;
        terms.flags |= EXTENDED;
        terms.challengeDeadline += _plans[modelId][terms.planIndex].challengeDuration;
        state.terms = terms;
        emit WindowExtended(roundId, terms.challengeDeadline);
    }

    /// @inheritdoc ICairn
    function voidResult(ModelId modelId, uint64 number, Standing verdict) external {
        if (msg.sender != address(COURT)) revert NotPartner(msg.sender);
        (RoundId roundId, RoundState storage state, Terms memory terms) = _challenged(modelId, number);
        Plan storage rules = _plans[modelId][terms.planIndex];
        bytes32 resultHash = state.resultHash;
        bytes32 tally = _tally(state, terms.flags, resultHash);
        state.votes[tally] = Votes(0, terms.contributions, verdict);
        if (verdict == Standing.Unanswered) state.unanswered[resultHash] += 1;
        state.unexpelled += rules.quorum;
        state.resultHash = 0;
        terms.contributions = 0;
        terms.challengeDeadline = 0;
        terms.flags = (terms.flags | VOIDED) & ~EXTENDED;
        uint40 from = uint40(block.timestamp);
        // slither-disable-next-line timestamp
        if (from < terms.publishDeadline) from = terms.publishDeadline;
        terms.aggregateDeadline = from + rules.aggregateDuration;
        state.terms = terms;
        emit ResultVoided(roundId, resultHash, tally, verdict, terms.aggregateDeadline);
    }

    /// @inheritdoc ICairn
    // The court calls nobody back while it takes a bond.
    // slither-disable-next-line calls-loop,reentrancy-no-eth,reentrancy-events
    function expel(ModelId modelId, uint64 number, address[] calldata aggregators) external returns (uint32 expelled) {
        (RoundId roundId, RoundState storage state, Terms memory terms) = _opened(modelId, number);
        uint64 bond = terms.flags & BONDED == 0 ? 0 : _plans[modelId][terms.planIndex].bondGwei;
        for (uint256 i = 0; i < aggregators.length; ++i) {
            bytes32 tally = state.attestations[aggregators[i]];
            if (state.votes[tally].standing == Standing.Sound) continue;
            ++expelled;
            state.attestations[aggregators[i]] = 0;
            _strip(modelId, aggregators[i]);
            emit AggregatorExpelled(roundId, aggregators[i], tally);
            if (bond != 0) COURT.slashBond(modelId, roundId, tally, aggregators[i], bond);
        }
        state.unexpelled -= expelled;
    }

    /// @inheritdoc ICairn
    function tallyOf(ModelId modelId, uint64 number, bytes32 resultHash) external view returns (bytes32) {
        RoundState storage state = _rounds[_roundId(modelId, number)];
        return _tally(state, state.terms.flags, resultHash);
    }

    /// @inheritdoc ICairn
    function standing(ModelId modelId, uint64 number, bytes32 tally) external view returns (Standing) {
        return _rounds[_roundId(modelId, number)].votes[tally].standing;
    }

    /// @inheritdoc ICairn
    function dispute(ModelId modelId, uint64 number) external view returns (Dispute memory found) {
        RoundId roundId = _roundId(modelId, number);
        RoundState storage state = _rounds[roundId];
        Terms memory terms = state.terms;
        if (_phase(terms) != Phase.Challenge) return found;
        // The head is the parent: nothing moves it while a round is open.
        bytes32 parent = _models[modelId].head;
        Plan memory rules = _rules(modelId, terms.planIndex);
        found.roundId = roundId;
        found.resultHash = state.resultHash;
        found.tally = _tally(state, terms.flags, found.resultHash);
        found.firstHash = _firstHash(roundId, parent, rules);
        found.runningHash = state.runningHash;
        found.parent = parent;
        found.parentRoots = _versions[modelId][parent].roots;
        found.planDigest = rules.digest;
        found.rulesHash = rules.rulesHash;
        found.challengeDuration = rules.challengeDuration;
        found.challengeDeadline = terms.challengeDeadline;
    }

    function _challenged(ModelId modelId, uint64 number)
        private
        view
        returns (RoundId roundId, RoundState storage state, Terms memory terms)
    {
        (roundId, state, terms) = _opened(modelId, number);
        _requirePhase(roundId, Phase.Challenge, _phase(terms));
    }

    function _strip(ModelId modelId, address aggregator) private {
        Member storage held = _members[modelId][aggregator];
        if (held.roles & AGGREGATOR == 0) return;
        held.roles &= ~AGGREGATOR;
        emit RolesChanged(modelId, aggregator, held.roles);
    }
}
