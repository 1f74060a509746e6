// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Phase, Plan, Result, Round, Version} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";

contract ResultsTest is Base {
    function refuses(address caller, uint64 number, Result memory result, bytes memory reason) internal {
        bytes32 hash = runningHash(number);
        vm.expectRevert(reason);
        vm.prank(caller);
        cairn.attestResult(modelId, number, result, hash);
    }

    function votesFor(uint64 number, Result memory result) internal view returns (uint32 count) {
        uint32 contributions;
        (count, contributions) = cairn.votes(modelId, number, hashOf(result));
        if (count != 0) same(contributions, result.contributions, "contributions of the result");
    }

    function notBetter(Result memory current, Result memory proposed) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.NotBetter.selector, hashOf(current), hashOf(proposed));
    }

    // ---------------------------------------------------------------------------------------------------- attestResult

    function test_attestResult_reverts_on_unknown_round() public {
        refuses(aggregators[0], 1, someResult("v1"), abi.encodeWithSelector(ICairn.UnknownRound.selector, modelId, 1));
    }

    function test_attestResult_reverts_in_every_other_phase() public {
        Phase[5] memory phases = [Phase.Commit, Phase.Publish, Phase.Challenge, Phase.Final, Phase.Cancelled];
        uint64 number = open();
        commitAll(number);
        for (uint256 i = 0; i < phases.length; ++i) {
            if (phases[i] == Phase.Publish) forward(COMMIT);
            if (phases[i] == Phase.Challenge) {
                forward(PUBLISH);
                agree(number, someResult("v1"));
            }
            if (phases[i] == Phase.Final) forward(CHALLENGE);
            if (phases[i] == Phase.Cancelled) {
                cairn.finalizeRound(modelId, number, someResult("v1"));
                number = openTo(Phase.Cancelled);
            }
            refuses(aggregators[2], number, someResult("v2"), wrongPhase(number, Phase.Aggregate, phases[i]));
        }
    }

    function test_attestResult_counts_in_the_last_second_and_not_in_the_next() public {
        uint64 number = openTo(Phase.Aggregate);
        forward(AGGREGATE - 1);
        attest(aggregators[0], number, someResult("v1"));
        forward(1);
        bytes memory reason = wrongPhase(number, Phase.Aggregate, Phase.Cancelled);
        refuses(aggregators[1], number, someResult("v1"), reason);
    }

    function test_attestResult_reverts_without_the_role() public {
        uint64 number = openTo(Phase.Aggregate);
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, aggregators[0], A);
        address[4] memory callers = [STRANGER, participants[0], OWNER, aggregators[0]];
        for (uint256 i = 0; i < callers.length; ++i) {
            refuses(callers[i], number, someResult("v1"), missingRole(callers[i], A));
        }
    }

    function test_attestResult_reverts_on_another_running_hash(bytes32 other) public {
        uint64 number = openTo(Phase.Aggregate);
        bytes32 actual = runningHash(number);
        vm.assume(other != actual);
        vm.expectRevert(abi.encodeWithSelector(ICairn.RunningHashMismatch.selector, other, actual));
        vm.prank(aggregators[0]);
        cairn.attestResult(modelId, number, someResult("v1"), other);
    }

    function test_attestResult_reverts_on_zeros() public {
        uint64 number = openTo(Phase.Aggregate);
        bytes memory zeroDigest = abi.encodeWithSelector(ICairn.ZeroDigest.selector);
        bytes memory zeroRoot = abi.encodeWithSelector(ICairn.ZeroRoot.selector);
        refuses(aggregators[0], number, someResult(0), zeroDigest);
        Result memory result = someResult("v1");
        result.reportDigest = 0;
        refuses(aggregators[0], number, result, zeroDigest);
        result = someResult("v1");
        result.aggregateRoot = 0;
        refuses(aggregators[0], number, result, zeroRoot);
        result = someResult("v1");
        result.contributionsRoot = 0;
        refuses(aggregators[0], number, result, zeroRoot);
        result = someResult("v1");
        result.roots.tensor = 0;
        refuses(aggregators[0], number, result, zeroRoot);
        result = someResult("v1");
        result.roots.rest = 0;
        refuses(aggregators[0], number, result, zeroRoot);
    }

    function test_attestResult_reverts_on_too_few_contributions() public {
        uint64 number = openTo(Phase.Aggregate);
        Result memory result = someResult("v1");
        result.contributions = 1;
        bytes memory reason = abi.encodeWithSelector(ICairn.TooFewContributions.selector, 1, 2);
        refuses(aggregators[0], number, result, reason);
        result.contributions = 2;
        attest(aggregators[0], number, result);
    }

    function test_attestResult_bounds_the_total_weight() public {
        uint64 number = openTo(Phase.Aggregate);
        uint32 most = 1 << 28;
        Result memory result = someResult("v1");
        uint32[2] memory bad = [uint32(2), most + 1];
        for (uint256 i = 0; i < 2; ++i) {
            result.totalWeight = bad[i];
            bytes memory reason = abi.encodeWithSelector(ICairn.BadTotalWeight.selector, bad[i], 3, most);
            refuses(aggregators[0], number, result, reason);
        }
        (result.totalWeight, result.divisor) = (3, 3);
        attest(aggregators[0], number, result);
        result.totalWeight = most;
        attest(aggregators[1], number, result);
    }

    function test_attestResult_bounds_the_total_steps() public {
        uint64 number = openTo(Phase.Aggregate);
        uint64 most = 1 << 37;
        Result memory result = someResult("v1");
        uint64[3] memory bad = [uint64(2), most + 1, type(uint64).max];
        for (uint256 i = 0; i < 3; ++i) {
            result.totalSteps = bad[i];
            bytes memory reason = abi.encodeWithSelector(ICairn.BadTotalSteps.selector, bad[i], 3, most);
            refuses(aggregators[0], number, result, reason);
        }
        result.totalSteps = 3;
        attest(aggregators[0], number, result);
        result.totalSteps = most;
        attest(aggregators[1], number, result);
    }

    function test_attestResult_bounds_the_divisor() public {
        uint64 number = openTo(Phase.Aggregate);
        Result memory result = someResult("v1");
        uint32[2] memory bad = [uint32(0), (1 << 28) + 1];
        for (uint256 i = 0; i < 2; ++i) {
            result.divisor = bad[i];
            bytes memory reason = abi.encodeWithSelector(ICairn.WrongDivisor.selector, bad[i], 1, 1 << 28);
            refuses(aggregators[0], number, result, reason);
        }
        result.divisor = 1;
        attest(aggregators[0], number, result);
        result.divisor = 1 << 28;
        attest(aggregators[1], number, result);
    }

    function test_attestResult_reverts_on_more_contributions_than_commitments() public {
        uint64 number = open();
        commit(participants[0], number);
        commit(participants[1], number);
        forward(COMMIT + PUBLISH);
        bytes memory reason = abi.encodeWithSelector(ICairn.TooManyContributions.selector, 3, 2);
        refuses(aggregators[0], number, someResult("v1"), reason);
        Result memory result = someResult("v1");
        result.contributions = 2;
        attest(aggregators[0], number, result);
    }

    function test_attestResult_reverts_on_a_known_version() public {
        finalized("v1");
        uint64 number = openTo(Phase.Aggregate);
        bytes32[2] memory known = [GENESIS, "v1"];
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory reason = abi.encodeWithSelector(ICairn.VersionExists.selector, modelId, known[i]);
            refuses(aggregators[0], number, someResult(known[i]), reason);
        }
    }

    function test_attestResult_records_and_tells() public {
        uint64 number = openTo(Phase.Aggregate);
        Result memory result = someResult("v1");
        expectEvent(address(cairn));
        emit ICairn.ResultAttested(roundId(number), aggregators[0], hashOf(result), result, 1);
        attest(aggregators[0], number, result);
        same(cairn.attestation(modelId, number, aggregators[0]), hashOf(result), "attestation");
        same(votesFor(number, result), 1, "votes");
        check(cairn.round(modelId, number).attested, "flag");
        same(cairn.round(modelId, number).resultHash, 0, "no quorum yet");
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Aggregate), "phase");
    }

    function test_attestResult_reverts_when_one_attested_the_same() public {
        uint64 number = openTo(Phase.Aggregate);
        attest(aggregators[0], number, someResult("v1"));
        refuses(aggregators[0], number, someResult("v1"), notBetter(someResult("v1"), someResult("v1")));
    }

    function test_attestResult_quorum_starts_the_challenge_window() public {
        uint64 number = openTo(Phase.Aggregate);
        Result memory result = someResult("v1");
        attest(aggregators[0], number, result);
        forward(7);
        uint40 deadline = uint40(time()) + CHALLENGE;
        expectEvent(address(cairn));
        emit ICairn.ResultAttested(roundId(number), aggregators[1], hashOf(result), result, 2);
        expectEvent(address(cairn));
        emit ICairn.QuorumReached(roundId(number), hashOf(result), deadline);
        attest(aggregators[1], number, result);

        Round memory agreed = cairn.round(modelId, number);
        same(agreed.challengeDeadline, deadline, "challenge deadline");
        same(agreed.resultHash, hashOf(result), "result hash");
        same(votesFor(number, result), 2, "votes");
        same(cairn.attestation(modelId, number, aggregators[1]), hashOf(result), "attestation");
        refuses(aggregators[2], number, result, wrongPhase(number, Phase.Aggregate, Phase.Challenge));
    }

    function test_attestResult_quorum_of_one_agrees_at_once() public {
        Plan memory plan = somePlan();
        plan.quorum = 1;
        setPlan(plan);
        uint64 number = openTo(Phase.Aggregate);
        attest(aggregators[0], number, someResult("v1"));
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Challenge), "phase");
        same(votesFor(number, someResult("v1")), 1, "votes");
        check(cairn.round(modelId, number).attested, "flag");
        (uint32 count, uint32 contributions) = cairn.votes(modelId, number, 0);
        same(uint256(count) + contributions, 0, "nobody votes for nothing");
    }

    function test_attestResult_different_results_make_no_quorum() public {
        uint64 number = openTo(Phase.Aggregate);
        attest(aggregators[0], number, someResult("v1"));
        attest(aggregators[1], number, someResult("v2"));
        same(cairn.round(modelId, number).challengeDeadline, 0, "no quorum");
        attest(aggregators[2], number, someResult("v2"));
        same(cairn.round(modelId, number).resultHash, hashOf(someResult("v2")), "the agreed one");
        same(votesFor(number, someResult("v1")), 1, "the other keeps its votes");
    }

    function test_attestResult_quorum_needs_equal_attestations_of_different_aggregators(uint16 quorum) public {
        quorum = uint16(within(quorum, 2, 12));
        Plan memory plan = somePlan();
        plan.quorum = quorum;
        setPlan(plan);
        uint64 number = openTo(Phase.Aggregate);
        for (uint160 i = 1; i <= quorum; ++i) {
            same(cairn.round(modelId, number).challengeDeadline, 0, "not yet");
            vm.prank(OWNER);
            cairn.grantRoles(modelId, address(0xB000 + i), A);
            attest(address(0xB000 + i), number, someResult("v1"));
            same(votesFor(number, someResult("v1")), i, "votes");
        }
        check(cairn.round(modelId, number).challengeDeadline != 0, "agreed");
    }

    function test_attestResult_of_a_revoked_aggregator_keeps_counting() public {
        uint64 number = openTo(Phase.Aggregate);
        attest(aggregators[0], number, someResult("v1"));
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, aggregators[0], A);
        attest(aggregators[1], number, someResult("v1"));
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Challenge), "agreed");
    }

    // ---------------------------------------------------------------------------------------------------------- moving

    function test_attestResult_moves_to_more_contributions() public {
        uint64 number = openTo(Phase.Aggregate);
        Result memory small = someResult("v1");
        small.contributions = 2;
        attest(aggregators[0], number, small);
        attest(aggregators[0], number, someResult("v2"));
        same(votesFor(number, small), 0, "left");
        same(votesFor(number, someResult("v2")), 1, "joined");
        refuses(aggregators[0], number, small, notBetter(someResult("v2"), small));
        attest(aggregators[1], number, someResult("v2"));
        same(cairn.round(modelId, number).resultHash, hashOf(someResult("v2")), "agreed");
    }

    function test_attestResult_moves_on_a_tie_to_the_smaller_hash(bytes32 one, bytes32 two) public {
        vm.assume(one != two && one != 0 && two != 0 && one != GENESIS && two != GENESIS);
        (Result memory small, Result memory large) = (someResult(one), someResult(two));
        if (hashOf(small) > hashOf(large)) (small, large) = (large, small);
        uint64 number = openTo(Phase.Aggregate);
        attest(aggregators[0], number, small);
        refuses(aggregators[0], number, large, notBetter(small, large));
        attest(aggregators[1], number, large);
        attest(aggregators[1], number, small);
        same(votesFor(number, large), 0, "left");
        same(votesFor(number, small), 2, "agreed");
        same(cairn.round(modelId, number).resultHash, hashOf(small), "result");
    }

    function test_attestResult_votes_that_left_do_not_make_a_quorum() public {
        uint64 number = openTo(Phase.Aggregate);
        Result memory small = someResult("v1");
        small.contributions = 2;
        attest(aggregators[0], number, small);
        attest(aggregators[0], number, someResult("v2"));
        attest(aggregators[1], number, small);
        same(cairn.round(modelId, number).challengeDeadline, 0, "one vote each");
    }

    // ------------------------------------------------------------------------------------------------------ early ends

    function test_attestResult_before_the_publish_deadline_needs_all_commitments() public {
        uint64 number = open();
        commitAll(number);
        cairn.endCommits(modelId, number, participants);
        Result memory partialResult = someResult("v1");
        partialResult.contributions = 2;
        bytes memory reason = abi.encodeWithSelector(ICairn.IncompleteEarlyResult.selector, 2, 3);
        refuses(aggregators[0], number, partialResult, reason);
        partialResult.contributions = 4;
        reason = abi.encodeWithSelector(ICairn.TooManyContributions.selector, 4, 3);
        refuses(aggregators[0], number, partialResult, reason);
        agree(number, someResult("v1"));
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Challenge), "agreed in phase Publish");
    }

    function test_attestResult_after_an_early_end_takes_partial_results_once_publishing_is_over() public {
        uint64 number = open();
        commitAll(number);
        cairn.endCommits(modelId, number, participants);
        forward(PUBLISH);
        Result memory partialResult = someResult("v1");
        partialResult.contributions = 2;
        attest(aggregators[0], number, partialResult);
    }

    // --------------------------------------------------------------------------------------------------- finalizeRound

    function test_finalizeRound_reverts_on_unknown_round() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownRound.selector, modelId, 1));
        cairn.finalizeRound(modelId, 1, someResult("v1"));
    }

    function test_finalizeRound_reverts_before_final() public {
        Phase[5] memory phases = [Phase.Commit, Phase.Publish, Phase.Aggregate, Phase.Challenge, Phase.Cancelled];
        for (uint256 i = 0; i < phases.length; ++i) {
            uint64 number = openTo(phases[i]);
            vm.expectRevert(wrongPhase(number, Phase.Final, phases[i]));
            cairn.finalizeRound(modelId, number, someResult("version"));
            if (phases[i] == Phase.Challenge) {
                forward(CHALLENGE - 1);
                vm.expectRevert(wrongPhase(number, Phase.Final, phases[i]));
                cairn.finalizeRound(modelId, number, someResult("version"));
                return;
            }
            vm.prank(OWNER);
            cairn.cancelRound(modelId, number);
        }
    }

    function test_finalizeRound_reverts_when_cancelled() public {
        uint64 number = openTo(Phase.Cancelled);
        vm.expectRevert(wrongPhase(number, Phase.Final, Phase.Cancelled));
        cairn.finalizeRound(modelId, number, someResult("v1"));
    }

    function test_finalizeRound_reverts_on_another_result(uint8 field) public {
        uint64 number = openTo(Phase.Final);
        Result memory other = someResult("version");
        field = uint8(within(field, 0, 8));
        if (field == 0) other.versionDigest = "another";
        if (field == 1) other.roots.tensor = "another";
        if (field == 2) other.reportDigest = "another";
        if (field == 3) other.aggregateRoot = "another";
        if (field == 4) other.contributionsRoot = "another";
        if (field == 5) other.contributions += 1;
        if (field == 6) other.totalWeight += 1;
        if (field == 7) other.totalSteps += 1;
        if (field == 8) other.divisor -= 1;
        bytes32 expected = hashOf(someResult("version"));
        vm.expectRevert(abi.encodeWithSelector(ICairn.ResultMismatch.selector, hashOf(other), expected));
        cairn.finalizeRound(modelId, number, other);
    }

    function test_finalizeRound_by_anyone_moves_the_head() public {
        uint64 number = openTo(Phase.Final);
        expectEvent(address(cairn));
        emit ICairn.RoundFinalized(modelId, number, roundId(number), "version", rootsOf("version root", REST), GENESIS);
        vm.prank(STRANGER);
        cairn.finalizeRound(modelId, number, someResult("version"));
        same(cairn.model(modelId).head, "version", "head");
        Version memory made = cairn.version(modelId, "version");
        check(made.known && !made.outsideRound && !made.deprecated, "known, of a round, sound");
        same(made.parent, GENESIS, "parent");
        same(made.roots, hashOf(rootsOf("version root", REST)), "roots");
        check(cairn.round(modelId, number).finalized, "flag");
    }

    function test_finalizeRound_reverts_the_second_time() public {
        uint64 number = finalized("v1");
        vm.expectRevert(abi.encodeWithSelector(ICairn.AlreadyFinalized.selector, roundId(number)));
        cairn.finalizeRound(modelId, number, someResult("v1"));
    }

    function test_finalizeRound_waits_as_long_as_it_must() public {
        uint64 number = openTo(Phase.Final);
        forward(10 * 365 days);
        cairn.finalizeRound(modelId, number, someResult("version"));
    }
}
