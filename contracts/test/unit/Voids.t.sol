// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute, ICairn, Phase, Plan, Result, Round, RoundId, Standing} from "../../interfaces/ICairn.sol";
import {IChallenges} from "../../interfaces/IChallenges.sol";
import {ICourt} from "../../interfaces/ICourt.sol";
import {Base} from "../support/Base.sol";

/// @notice What Cairn does when its court says that a result is void.
contract VoidsTest is Base {
    uint64 internal number;

    function challenged(Result memory result) internal {
        number = openTo(Phase.Aggregate);
        agree(number, result);
    }

    function void(Standing verdict) internal {
        vm.prank(address(cairn.COURT()));
        cairn.voidResult(modelId, number, verdict);
    }

    function extend() internal {
        vm.prank(address(cairn.CHALLENGES()));
        cairn.extendWindow(modelId, number);
    }

    function tallyOf(Result memory result) internal view returns (bytes32) {
        return cairn.tallyOf(modelId, number, hashOf(result));
    }

    function stands(bytes32 tally, Standing expected) internal view {
        same(uint256(cairn.standing(modelId, number, tally)), uint256(expected), "standing");
    }

    function expel(address one) internal returns (uint32) {
        address[] memory list = new address[](1);
        list[0] = one;
        return cairn.expel(modelId, number, list);
    }

    function expelBoth() internal {
        same(uint256(expel(aggregators[0])) + expel(aggregators[1]), 2, "both");
    }

    function refusesAttesting(address aggregator, Result memory result, bytes memory reason) internal {
        bytes32 running = runningHash(number);
        vm.expectRevert(reason);
        vm.prank(aggregator);
        cairn.attestResult(modelId, number, result, running);
    }

    function grant(address aggregator) internal {
        vm.prank(OWNER);
        cairn.grantRoles(modelId, aggregator, A);
    }

    // ---------------------------------------------------------------------------------------- extendWindow, voidResult

    function test_only_its_partners_extend_and_only_its_court_voids(address caller) public {
        challenged(someResult("v1"));
        vm.assume(caller != address(cairn.CHALLENGES()) && caller != address(cairn.COURT()));
        bytes memory reason = abi.encodeWithSelector(ICairn.NotPartner.selector, caller);
        vm.startPrank(caller);
        vm.expectRevert(reason);
        cairn.extendWindow(modelId, number);
        vm.expectRevert(reason);
        cairn.voidResult(modelId, number, Standing.Convicted);
        vm.stopPrank();
        address challenges = address(cairn.CHALLENGES());
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotPartner.selector, challenges));
        vm.prank(challenges);
        cairn.voidResult(modelId, number, Standing.Convicted);
        vm.prank(challenges);
        cairn.extendWindow(modelId, number);
        check(cairn.round(modelId, number).extended, "by challenges");
    }

    function test_the_contracts_of_a_deployment_name_one_another() public view {
        IChallenges challenges = cairn.CHALLENGES();
        ICourt court = cairn.COURT();
        same(address(challenges.CAIRN()), address(cairn), "challenges to cairn");
        same(address(court.CAIRN()), address(cairn), "court to cairn");
        same(address(challenges.COURT()), address(court), "challenges to court");
        same(address(court.CHALLENGES()), address(challenges), "court to challenges");
        same(address(challenges.RULES()), address(cairn.RULES()), "challenges to rules");
        same(address(court.RULES()), address(cairn.RULES()), "court to rules");
    }

    function test_extending_and_voiding_revert_in_every_other_phase() public {
        Phase[5] memory phases = [Phase.Commit, Phase.Publish, Phase.Aggregate, Phase.Final, Phase.Cancelled];
        address court = address(cairn.COURT());
        for (uint256 i = 0; i < phases.length; ++i) {
            number = openTo(phases[i]);
            bytes memory reason = wrongPhase(number, Phase.Challenge, phases[i]);
            vm.startPrank(court);
            vm.expectRevert(reason);
            cairn.extendWindow(modelId, number);
            vm.expectRevert(reason);
            cairn.voidResult(modelId, number, Standing.Unanswered);
            vm.stopPrank();
            if (phases[i] == Phase.Final) cairn.finalizeRound(modelId, number, someResult("version"));
            else if (phases[i] != Phase.Cancelled) cancel();
        }
        number += 1;
        bytes memory none = abi.encodeWithSelector(ICairn.UnknownRound.selector, modelId, number);
        vm.prank(court);
        vm.expectRevert(none);
        cairn.extendWindow(modelId, number);
    }

    function cancel() internal {
        vm.prank(OWNER);
        cairn.cancelRound(modelId, number);
    }

    function test_extendWindow_moves_the_end_once_in_the_last_second_too() public {
        challenged(someResult("v1"));
        uint40 end = cairn.round(modelId, number).challengeDeadline;
        vm.warp(end - 1);
        expectEvent(address(cairn));
        emit ICairn.WindowExtended(roundId(number), end + CHALLENGE);
        extend();
        extend();
        Round memory extended = cairn.round(modelId, number);
        same(extended.challengeDeadline, end + CHALLENGE, "once");
        check(extended.extended, "flag");
        vm.warp(end + CHALLENGE - 1);
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Challenge), "last second");
        extend();
        forward(1);
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Final), "next");
    }

    function test_the_window_of_the_next_result_moves_once_more() public {
        challenged(someResult("v1"));
        extend();
        void(Standing.Convicted);
        check(!cairn.round(modelId, number).extended, "flag cleared");
        expelBoth();
        grant(aggregators[0]);
        attest(aggregators[2], number, someResult("v2"));
        attest(aggregators[0], number, someResult("v2"));
        uint40 end = cairn.round(modelId, number).challengeDeadline;
        extend();
        same(cairn.round(modelId, number).challengeDeadline, end + CHALLENGE, "moved");
    }

    function test_voidResult_reopens_aggregation_from_now() public {
        challenged(someResult("v1"));
        forward(CHALLENGE - 1);
        uint40 deadline = uint40(time()) + AGGREGATE;
        bytes32 tally = tallyOf(someResult("v1"));
        expectEvent(address(cairn));
        emit ICairn.ResultVoided(roundId(number), hashOf(someResult("v1")), tally, Standing.Convicted, deadline);
        void(Standing.Convicted);
        Round memory reopened = cairn.round(modelId, number);
        same(reopened.aggregateDeadline, deadline, "deadline");
        same(reopened.challengeDeadline, 0, "no window");
        same(reopened.resultHash, 0, "no result");
        same(reopened.unexpelled, 2, "attesters");
        check(reopened.attested && !reopened.finalized, "flags");
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Aggregate), "phase");
        (uint32 count,) = cairn.votes(modelId, number, hashOf(someResult("v1")));
        same(count, 0, "no votes");
        vm.warp(deadline);
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Cancelled), "lapses");
        vm.expectRevert(wrongPhase(number, Phase.Final, Phase.Cancelled));
        cairn.finalizeRound(modelId, number, someResult("v1"));
    }

    function test_voidResult_before_the_publish_deadline_counts_from_it() public {
        number = open();
        commitAll(number);
        cairn.endCommits(modelId, number, participants);
        agree(number, someResult("v1"));
        uint40 publishDeadline = cairn.round(modelId, number).publishDeadline;
        vm.warp(publishDeadline - 1);
        void(Standing.Unanswered);
        same(cairn.round(modelId, number).aggregateDeadline, publishDeadline + AGGREGATE, "deadline");
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Publish), "phase");
        // Everything is in, so the others need not wait.
        attest(aggregators[2], number, someResult("v2"));
    }

    function test_voidResult_keeps_the_attestations_of_others() public {
        Plan memory plan = somePlan();
        plan.quorum = 1;
        setPlan(plan);
        number = openTo(Phase.Aggregate);
        attest(aggregators[0], number, someResult("v1"));
        void(Standing.Convicted);
        attest(aggregators[1], number, someResult("v2"));
        same(cairn.round(modelId, number).resultHash, hashOf(someResult("v2")), "the next quorum");
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, number, someResult("v2"));
        same(cairn.model(modelId).head, "v2", "head");
    }

    function test_voidResult_keeps_votes_that_make_no_quorum_yet() public {
        number = openTo(Phase.Aggregate);
        attest(aggregators[2], number, someResult("v2"));
        agree(number, someResult("v1"));
        void(Standing.Unanswered);
        expelBoth();
        grant(aggregators[0]);
        same(cairn.attestation(modelId, number, aggregators[2]), hashOf(someResult("v2")), "kept");
        attest(aggregators[0], number, someResult("v2"));
        same(cairn.round(modelId, number).resultHash, hashOf(someResult("v2")), "quorum with the vote of before");
    }

    // --------------------------------------------------------------------------------------------------------- tallies

    function test_a_convicted_result_never_comes_back() public {
        challenged(someResult("v1"));
        bytes32 tally = hashOf(someResult("v1"));
        same(tallyOf(someResult("v1")), tally, "its hash");
        void(Standing.Convicted);
        same(tallyOf(someResult("v1")), tally, "the same still");
        stands(tally, Standing.Convicted);
        bytes memory reason = abi.encodeWithSelector(ICairn.ResultIsConvicted.selector, roundId(number), tally);
        refusesAttesting(aggregators[2], someResult("v1"), reason);
    }

    function test_an_unanswered_result_is_attested_anew_counted_from_zero() public {
        challenged(someResult("v1"));
        bytes32 first = hashOf(someResult("v1"));
        void(Standing.Unanswered);
        stands(first, Standing.Unanswered);
        bytes32 second = keccak256(abi.encode(first, uint256(1)));
        same(tallyOf(someResult("v1")), second, "another tally");
        stands(second, Standing.Sound);
        same(tallyOf(someResult("v2")), hashOf(someResult("v2")), "of that result alone");

        attest(aggregators[2], number, someResult("v1"));
        same(cairn.attestation(modelId, number, aggregators[2]), second, "attestation");
        (uint32 count,) = cairn.votes(modelId, number, first);
        same(count, 1, "from zero");
        expelBoth();
        grant(aggregators[1]);
        attest(aggregators[1], number, someResult("v1"));
        same(cairn.dispute(modelId, number).tally, second, "in its window");
        // And so on, until it is convicted: then under every later tally.
        void(Standing.Convicted);
        stands(second, Standing.Convicted);
        grant(aggregators[0]);
        bytes memory reason = abi.encodeWithSelector(ICairn.ResultIsConvicted.selector, roundId(number), second);
        refusesAttesting(aggregators[0], someResult("v1"), reason);
    }

    function test_a_result_unanswered_twice_is_counted_under_a_third_tally() public {
        challenged(someResult("v1"));
        void(Standing.Unanswered);
        expelBoth();
        grant(aggregators[0]);
        grant(aggregators[1]);
        agree(number, someResult("v1"));
        void(Standing.Unanswered);
        same(tallyOf(someResult("v1")), keccak256(abi.encode(hashOf(someResult("v1")), uint256(2))), "third");
        same(cairn.round(modelId, number).unexpelled, 2, "the second two");
        expelBoth();
        same(cairn.round(modelId, number).unexpelled, 0, "all");
    }

    // ------------------------------------------------------------------------------------------------- expelling, roles

    function test_attesters_of_a_void_result_attest_nothing_else_whether_expelled_or_not() public {
        Result memory fewer = someResult("v1");
        fewer.contributions = 2;
        challenged(fewer);
        void(Standing.Unanswered);
        Result memory better = someResult("v2");
        for (uint256 i = 0; i < 2; ++i) {
            refusesAttesting(aggregators[i], better, missingRole(aggregators[i], A));
        }
        expelBoth();
        for (uint256 i = 0; i < 2; ++i) {
            refusesAttesting(aggregators[i], better, missingRole(aggregators[i], A));
        }
        grant(aggregators[0]);
        attest(aggregators[0], number, better);
    }

    function test_granting_the_role_before_the_expulsion_changes_nothing() public {
        challenged(someResult("v1"));
        void(Standing.Convicted);
        grant(aggregators[0]);
        refusesAttesting(aggregators[0], someResult("v2"), missingRole(aggregators[0], A));
        expel(aggregators[0]);
        same(cairn.member(modelId, aggregators[0]).roles, 0, "role gone");
    }

    function test_expel_takes_the_role_and_the_attestation_and_tells() public {
        vm.prank(OWNER);
        cairn.grantRoles(modelId, aggregators[0], P);
        number = open();
        commitAll(number);
        forward(COMMIT + PUBLISH);
        agree(number, someResult("v1"));
        void(Standing.Convicted);
        expectEvent(address(cairn));
        emit ICairn.RolesChanged(modelId, aggregators[0], P);
        expectEvent(address(cairn));
        emit ICairn.AggregatorExpelled(roundId(number), aggregators[0], hashOf(someResult("v1")));
        vm.prank(STRANGER);
        same(expel(aggregators[0]), 1, "one");
        same(cairn.member(modelId, aggregators[0]).roles, P, "other roles stay");
        same(cairn.attestation(modelId, number, aggregators[0]), 0, "no attestation");
        same(cairn.round(modelId, number).unexpelled, 1, "one left");
        same(cairn.member(modelId, aggregators[1]).roles, A, "not yet");
    }

    function test_expel_passes_over_whoever_has_nothing_to_answer_for() public {
        number = openTo(Phase.Aggregate);
        attest(aggregators[2], number, someResult("v2"));
        agree(number, someResult("v1"));
        address[] memory list = new address[](5);
        (list[0], list[1], list[2]) = (aggregators[0], aggregators[2], STRANGER);
        (list[3], list[4]) = (aggregators[0], participants[0]);
        same(cairn.expel(modelId, number, list), 0, "nothing is void yet");
        void(Standing.Convicted);
        same(cairn.expel(modelId, number, list), 1, "one, once");
        same(cairn.expel(modelId, number, list), 0, "and not again");
        same(cairn.member(modelId, aggregators[2]).roles, A, "the honest one");
        same(cairn.expel(modelId, number, new address[](0)), 0, "nobody");
        same(cairn.round(modelId, number).unexpelled, 1, "the other attester");
    }

    function test_expel_counts_one_who_was_revoked_in_between() public {
        challenged(someResult("v1"));
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, aggregators[0], A);
        void(Standing.Convicted);
        expelBoth();
        same(cairn.round(modelId, number).unexpelled, 0, "both");
    }

    function test_expel_reverts_on_an_unknown_round() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownRound.selector, modelId, 9));
        cairn.expel(modelId, 9, aggregatorsList());
    }

    function aggregatorsList() internal view returns (address[] memory list) {
        list = new address[](3);
        for (uint256 i = 0; i < 3; ++i) {
            list[i] = aggregators[i];
        }
    }

    function test_the_next_round_waits_until_all_are_expelled() public {
        challenged(someResult("v1"));
        void(Standing.Convicted);
        forward(AGGREGATE);
        for (uint32 left = 2; left != 0; --left) {
            vm.expectRevert(abi.encodeWithSelector(ICairn.NotExpelled.selector, roundId(number), left));
            vm.prank(OWNER);
            cairn.openRound(modelId);
            expel(aggregators[left - 1]);
        }
        same(open(), number + 1, "opened");
    }

    function test_the_next_round_waits_after_a_finalized_one_too() public {
        challenged(someResult("v1"));
        void(Standing.Convicted);
        expel(aggregators[0]);
        grant(aggregators[0]);
        attest(aggregators[2], number, someResult("v2"));
        attest(aggregators[0], number, someResult("v2"));
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, number, someResult("v2"));
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotExpelled.selector, roundId(number), 1));
        vm.prank(OWNER);
        cairn.openRound(modelId);
        cairn.expel(modelId, number, aggregatorsList());
        same(cairn.member(modelId, aggregators[0]).roles, A, "who attested the sound one");
        same(open(), number + 1, "opened");
    }

    // --------------------------------------------------------------------------------------------------------- dispute

    function test_dispute_reads_as_zeros_outside_a_window() public {
        Phase[5] memory phases = [Phase.Commit, Phase.Publish, Phase.Aggregate, Phase.Final, Phase.Cancelled];
        for (uint256 i = 0; i < phases.length; ++i) {
            number = openTo(phases[i]);
            same(keccak256(abi.encode(cairn.dispute(modelId, number))), keccak256(new bytes(11 * 32)), "zeros");
            if (phases[i] == Phase.Final) cairn.finalizeRound(modelId, number, someResult("version"));
            else if (phases[i] != Phase.Cancelled) cancel();
        }
        same(cairn.dispute(modelId, 77).tally, 0, "unknown round");
    }

    function test_dispute_says_what_a_result_is_held_against() public {
        number = open();
        bytes32 firstHash = runningHash(number);
        commitAll(number);
        // A plan set meanwhile is not the round's.
        Plan memory plan = somePlan();
        (plan.digest, plan.answerDuration) = ("another", 30);
        setPlan(plan);
        forward(COMMIT + PUBLISH);
        agree(number, someResult("v1"));
        Dispute memory expected = Dispute({
            roundId: roundId(number),
            tally: hashOf(someResult("v1")),
            resultHash: hashOf(someResult("v1")),
            firstHash: firstHash,
            runningHash: runningHash(number),
            parent: GENESIS,
            parentRoots: hashOf(rootsOf(GENESIS_ROOT, REST)),
            planDigest: "plan",
            rulesHash: keccak256(someRules()),
            challengeDuration: CHALLENGE,
            challengeDeadline: uint40(time()) + CHALLENGE
        });
        same(keccak256(abi.encode(cairn.dispute(modelId, number))), keccak256(abi.encode(expected)), "dispute");
        check(RoundId.unwrap(expected.roundId) != 0, "of a round");
    }
}
