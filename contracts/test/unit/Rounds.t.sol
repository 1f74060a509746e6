// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Phase, Plan, Round, RoundId} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";

contract RoundsTest is Base {
    function isIn(uint64 number, Phase expected) internal view {
        same(uint256(cairn.phase(modelId, number)), uint256(expected), "phase");
    }

    function unknownRound(uint64 number) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.UnknownRound.selector, modelId, number);
    }

    // ------------------------------------------------------------------------------------------------------ openRound

    function test_openRound_reverts_for_unknown_model() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownModel.selector, bytes32("nobody")));
        cairn.openRound(ModelId.wrap("nobody"));
    }

    function test_openRound_reverts_for_strangers_auditors_and_readers() public {
        for (uint8 roles = 0; roles <= 12; roles += 4) {
            if (roles != 0) {
                vm.prank(OWNER);
                cairn.grantRoles(modelId, STRANGER, roles);
            }
            vm.expectRevert(missingRole(STRANGER, P | A));
            vm.prank(STRANGER);
            cairn.openRound(modelId);
        }
    }

    function test_openRound_is_open_to_participants_and_aggregators() public {
        vm.prank(participants[0]);
        same(cairn.openRound(modelId), 1, "by a participant");
        forward(COMMIT + PUBLISH + AGGREGATE);
        vm.prank(aggregators[0]);
        same(cairn.openRound(modelId), 2, "by an aggregator");
    }

    function test_openRound_reverts_without_a_plan() public {
        vm.startPrank(OWNER);
        ModelId other = cairn.registerModel("other", GENESIS_ROOT, REST);
        vm.expectRevert(abi.encodeWithSelector(ICairn.NoPlan.selector, other));
        cairn.openRound(other);
        vm.stopPrank();
    }

    function test_openRound_sets_deadlines_and_begins_the_running_hash() public {
        bytes32 seed = uncounted(keccak256(abi.encode(roundId(1), GENESIS, keccak256(abi.encode(somePlan())))));
        uint40 commitDeadline = uint40(START + COMMIT);
        expectEvent(address(cairn));
        emit ICairn.RoundOpened(
            modelId,
            1,
            roundId(1),
            GENESIS,
            0,
            commitDeadline,
            commitDeadline + PUBLISH,
            commitDeadline + PUBLISH + AGGREGATE,
            seed
        );
        same(open(), 1, "number");

        Round memory opened = cairn.round(modelId, 1);
        same(opened.commitDeadline, START + COMMIT, "commit deadline");
        same(opened.publishDeadline, START + COMMIT + PUBLISH, "publish deadline");
        same(opened.aggregateDeadline, START + COMMIT + PUBLISH + AGGREGATE, "aggregate deadline");
        same(opened.challengeDeadline, 0, "no challenge yet");
        same(opened.weightCap, CAP, "cap");
        same(opened.quorum, 2, "quorum");
        same(opened.runningHash, seed, "running hash");
        same(opened.resultHash, 0, "no result");
        check(!opened.cancelled && !opened.attested && !opened.finalized && !opened.endedEarly, "no flag");
        same(cairn.model(modelId).rounds, 1, "rounds");
    }

    function test_openRound_reverts_until_the_last_round_ended() public {
        Phase[5] memory phases = [Phase.Commit, Phase.Publish, Phase.Aggregate, Phase.Challenge, Phase.Final];
        uint64 number = open();
        commitAll(number);
        for (uint256 i = 0; i < phases.length; ++i) {
            if (phases[i] == Phase.Publish) forward(COMMIT);
            if (phases[i] == Phase.Aggregate) forward(PUBLISH);
            if (phases[i] == Phase.Challenge) agree(number, someResult("v1"));
            if (phases[i] == Phase.Final) forward(CHALLENGE);
            vm.expectRevert(abi.encodeWithSelector(ICairn.RoundNotEnded.selector, roundId(number), phases[i]));
            vm.prank(OWNER);
            cairn.openRound(modelId);
        }
        cairn.finalizeRound(modelId, number, someResult("v1"));
        same(open(), 2, "next number");
        bytes32 seed = uncounted(keccak256(abi.encode(roundId(2), bytes32("v1"), keccak256(abi.encode(somePlan())))));
        same(runningHash(2), seed, "on the version of the last round");
    }

    function test_openRound_after_a_cancelled_round_keeps_the_parent() public {
        uint64 number = open();
        vm.prank(OWNER);
        cairn.cancelRound(modelId, number);
        same(open(), 2, "the number stays used");
        bytes32 seed = uncounted(keccak256(abi.encode(roundId(2), GENESIS, keccak256(abi.encode(somePlan())))));
        same(runningHash(2), seed, "same parent");
    }

    // ---------------------------------------------------------------------------------------------------------- phase

    function test_phase_moves_with_the_first_second_after_each_deadline() public {
        isIn(1, Phase.None);
        uint64 number = open();
        uint256[3] memory deadlines = [START + COMMIT, START + COMMIT + PUBLISH, START + COMMIT + PUBLISH + AGGREGATE];
        Phase[4] memory phases = [Phase.Commit, Phase.Publish, Phase.Aggregate, Phase.Cancelled];
        for (uint256 i = 0; i < 3; ++i) {
            vm.warp(deadlines[i] - 1);
            isIn(number, phases[i]);
            vm.warp(deadlines[i]);
            isIn(number, phases[i + 1]);
        }
        isIn(0, Phase.None);
        isIn(2, Phase.None);
    }

    function test_phase_is_challenge_from_the_quorum_to_its_deadline_then_final() public {
        uint64 number = openTo(Phase.Aggregate);
        // In the last second of phase Aggregate.
        forward(AGGREGATE - 1);
        agree(number, someResult("v1"));
        isIn(number, Phase.Challenge);
        forward(CHALLENGE - 1);
        isIn(number, Phase.Challenge);
        forward(1);
        isIn(number, Phase.Final);
        cairn.finalizeRound(modelId, number, someResult("v1"));
        isIn(number, Phase.Final);
    }

    function test_phase_follows_time_alone_before_a_quorum(uint32 elapsed) public {
        uint64 number = open();
        vm.warp(START + elapsed);
        Phase expected = elapsed < COMMIT
            ? Phase.Commit
            : elapsed < COMMIT + PUBLISH
                ? Phase.Publish
                : elapsed < COMMIT + PUBLISH + AGGREGATE ? Phase.Aggregate : Phase.Cancelled;
        isIn(number, expected);
    }

    // ------------------------------------------------------------------------------------------------------ endCommits

    function test_endCommits_reverts_on_unknown_round() public {
        vm.expectRevert(unknownRound(1));
        cairn.endCommits(modelId, 1, participants);
    }

    function test_endCommits_reverts_outside_phase_commit() public {
        uint64 number = openTo(Phase.Publish);
        vm.expectRevert(wrongPhase(number, Phase.Commit, Phase.Publish));
        cairn.endCommits(modelId, number, participants);
    }

    function test_endCommits_counts_who_committed_and_was_revoked() public {
        uint64 number = open();
        commitAll(number);
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, participants[0], P);
        address[] memory rest = new address[](2);
        (rest[0], rest[1]) = (participants[1], participants[2]);
        uint40 now_ = uint40(START);
        expectEvent(address(cairn));
        emit ICairn.CommitsEnded(roundId(number), 3, now_, now_ + PUBLISH, now_ + PUBLISH + AGGREGATE);
        cairn.endCommits(modelId, number, rest);
        same(cairn.round(modelId, number).commitments, 3, "all three");
        agree(number, someResult("v1"));
        isIn(number, Phase.Challenge);
    }

    function test_endCommits_reverts_on_any_other_count() public {
        uint64 number = open();
        commitAll(number);
        for (uint256 length = 0; length < 5; ++length) {
            if (length == 3) continue;
            vm.expectRevert(abi.encodeWithSelector(ICairn.WrongParticipantCount.selector, length, 3));
            cairn.endCommits(modelId, number, new address[](length));
        }
    }

    function test_endCommits_reverts_where_there_are_no_participants() public {
        vm.startPrank(OWNER);
        for (uint256 i = 0; i < 3; ++i) {
            cairn.revokeRoles(modelId, participants[i], P);
        }
        uint64 number = cairn.openRound(modelId);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(ICairn.WrongParticipantCount.selector, 0, 0));
        cairn.endCommits(modelId, number, new address[](0));
    }

    function test_endCommits_reverts_unless_strictly_ascending() public {
        uint64 number = open();
        commitAll(number);
        address[] memory list = participants;
        (list[0], list[1]) = (list[1], list[0]);
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotAscending.selector, list[0], list[1]));
        cairn.endCommits(modelId, number, list);
        list[0] = list[1];
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotAscending.selector, list[0], list[0]));
        cairn.endCommits(modelId, number, list);
        list[0] = address(0);
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotAscending.selector, address(0), address(0)));
        cairn.endCommits(modelId, number, list);
    }

    function test_endCommits_reverts_on_one_who_is_no_participant() public {
        uint64 number = open();
        commitAll(number);
        address[] memory list = participants;
        list[0] = address(1);
        vm.expectRevert(missingRole(address(1), P));
        cairn.endCommits(modelId, number, list);
    }

    function test_endCommits_reverts_on_one_who_has_not_committed() public {
        finalized("v1");
        uint64 number = open();
        commit(participants[0], number);
        commit(participants[2], number);
        bytes memory reason = abi.encodeWithSelector(ICairn.NotCommitted.selector, roundId(number), participants[1]);
        vm.expectRevert(reason);
        cairn.endCommits(modelId, number, participants);
    }

    function test_endCommits_reverts_once_another_participant_is_granted() public {
        uint64 number = open();
        commitAll(number);
        vm.prank(OWNER);
        cairn.grantRoles(modelId, STRANGER, P);
        vm.expectRevert(abi.encodeWithSelector(ICairn.WrongParticipantCount.selector, 3, 4));
        cairn.endCommits(modelId, number, participants);
    }

    function test_endCommits_moves_all_deadlines_up_by_the_time_saved(uint32 elapsed) public {
        uint64 number = open();
        commitAll(number);
        elapsed = uint32(within(elapsed, 0, COMMIT - 1));
        forward(elapsed);
        uint40 now_ = uint40(START + elapsed);
        expectEvent(address(cairn));
        emit ICairn.CommitsEnded(roundId(number), 3, now_, now_ + PUBLISH, now_ + PUBLISH + AGGREGATE);
        vm.prank(STRANGER);
        cairn.endCommits(modelId, number, participants);

        Round memory ended = cairn.round(modelId, number);
        same(ended.commitDeadline, now_, "commit deadline");
        same(ended.publishDeadline, now_ + PUBLISH, "publish deadline");
        same(ended.aggregateDeadline, now_ + PUBLISH + AGGREGATE, "aggregate deadline");
        same(ended.commitments, 3, "commitments");
        check(ended.endedEarly, "flag");
        isIn(number, Phase.Publish);
        vm.expectRevert(wrongPhase(number, Phase.Commit, Phase.Publish));
        cairn.endCommits(modelId, number, participants);
    }

    /// @dev Opens a round that two commitments may end after a time.
    function openWithEnough(uint32 least) private returns (uint64 number) {
        Plan memory plan = somePlan();
        (plan.enoughCommitments, plan.leastCommitDuration) = (2, least);
        vm.startPrank(OWNER);
        cairn.setPlan(modelId, plan, someRules());
        number = cairn.openRound(modelId);
        cairn.setPlan(modelId, somePlan(), someRules());
        vm.stopPrank();
    }

    function test_endCommits_reverts_with_fewer_commitments_than_enough(uint32 elapsed) public {
        uint64 number = openWithEnough(60);
        commit(participants[1], number);
        forward(within(elapsed, 0, COMMIT - 1));
        vm.expectRevert(abi.encodeWithSelector(ICairn.TooFewCommitments.selector, 1, 2));
        cairn.endCommits(modelId, number, new address[](0));
    }

    function test_endCommits_reverts_before_the_least_time_is_over() public {
        uint64 number = openWithEnough(60);
        commit(participants[1], number);
        commit(participants[2], number);
        bytes memory reason = abi.encodeWithSelector(ICairn.TooEarlyToEnd.selector, uint40(START + 60));
        vm.expectRevert(reason);
        cairn.endCommits(modelId, number, new address[](0));
        forward(59);
        vm.expectRevert(reason);
        cairn.endCommits(modelId, number, new address[](0));
        vm.expectRevert(abi.encodeWithSelector(ICairn.WrongParticipantCount.selector, 1, 3));
        cairn.endCommits(modelId, number, new address[](1));
        forward(1);
        cairn.endCommits(modelId, number, new address[](0));
        isIn(number, Phase.Publish);
    }

    function test_endCommits_with_enough_moves_all_deadlines_up_and_takes_no_more(uint32 elapsed) public {
        uint64 number = openWithEnough(60);
        commit(participants[0], number);
        commit(participants[2], number);
        forward(within(elapsed, 60, COMMIT - 1));
        uint40 now_ = uint40(time());
        expectEvent(address(cairn));
        emit ICairn.CommitsEnded(roundId(number), 2, now_, now_ + PUBLISH, now_ + PUBLISH + AGGREGATE);
        vm.prank(STRANGER);
        cairn.endCommits(modelId, number, new address[](0));

        Round memory ended = cairn.round(modelId, number);
        same(ended.aggregateDeadline, now_ + PUBLISH + AGGREGATE, "aggregate deadline");
        check(ended.endedEarly, "flag");
        vm.expectRevert(wrongPhase(number, Phase.Commit, Phase.Publish));
        vm.prank(participants[1]);
        cairn.commitUpdate(modelId, number, "late", "root", WEIGHT, 1);
        vm.expectRevert(wrongPhase(number, Phase.Commit, Phase.Publish));
        cairn.endCommits(modelId, number, new address[](0));
    }

    function test_endCommits_by_everybody_needs_no_least_time() public {
        uint64 number = openWithEnough(COMMIT);
        commitAll(number);
        cairn.endCommits(modelId, number, participants);
        isIn(number, Phase.Publish);
    }

    // ----------------------------------------------------------------------------------------------------- cancelRound

    function test_cancelRound_reverts_on_unknown_round() public {
        vm.expectRevert(unknownRound(1));
        vm.prank(OWNER);
        cairn.cancelRound(modelId, 1);
        open();
        vm.expectRevert(unknownRound(0));
        vm.prank(OWNER);
        cairn.cancelRound(modelId, 0);
    }

    function test_cancelRound_reverts_for_all_but_the_owner_before_the_round_lapsed() public {
        uint64 number = open();
        address[3] memory callers = [STRANGER, participants[0], aggregators[0]];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(notOwner(callers[i]));
            vm.prank(callers[i]);
            cairn.cancelRound(modelId, number);
        }
    }

    function test_cancelRound_by_the_owner_ends_it_at_once() public {
        Phase[3] memory phases = [Phase.Commit, Phase.Publish, Phase.Aggregate];
        for (uint256 i = 0; i < phases.length; ++i) {
            uint64 number = openTo(phases[i]);
            expectEvent(address(cairn));
            emit ICairn.RoundCancelled(modelId, number, roundId(number));
            vm.prank(OWNER);
            cairn.cancelRound(modelId, number);
            isIn(number, Phase.Cancelled);
            check(cairn.round(modelId, number).cancelled, "flag");
            vm.expectRevert(abi.encodeWithSelector(ICairn.AlreadyCancelled.selector, roundId(number)));
            vm.prank(OWNER);
            cairn.cancelRound(modelId, number);
        }
    }

    function test_cancelRound_reverts_once_a_result_is_attested() public {
        uint64 number = openTo(Phase.Aggregate);
        bytes memory reason = abi.encodeWithSelector(ICairn.AlreadyAttested.selector, roundId(number));
        attest(aggregators[0], number, someResult("v1"));
        vm.startPrank(OWNER);
        vm.expectRevert(reason);
        cairn.cancelRound(modelId, number);
        vm.stopPrank();
        attest(aggregators[1], number, someResult("v1"));
        vm.startPrank(OWNER);
        vm.expectRevert(reason);
        cairn.cancelRound(modelId, number);
        forward(CHALLENGE);
        vm.expectRevert(reason);
        cairn.cancelRound(modelId, number);
        vm.stopPrank();
    }

    function test_cancelRound_reverts_when_finalized() public {
        uint64 number = finalized("v1");
        vm.expectRevert(abi.encodeWithSelector(ICairn.AlreadyFinalized.selector, roundId(number)));
        vm.prank(OWNER);
        cairn.cancelRound(modelId, number);
    }

    function test_cancelRound_by_anyone_records_that_it_lapsed() public {
        uint64 number = openTo(Phase.Aggregate);
        attest(aggregators[0], number, someResult("v1"));
        forward(AGGREGATE);
        expectEvent(address(cairn));
        emit ICairn.RoundCancelled(modelId, number, roundId(number));
        vm.prank(STRANGER);
        cairn.cancelRound(modelId, number);
        check(cairn.round(modelId, number).cancelled, "flag");
    }

    function test_rounds_of_models_are_apart() public {
        uint64 number = open();
        vm.startPrank(STRANGER);
        ModelId other = cairn.registerModel(GENESIS, GENESIS_ROOT, REST);
        cairn.setPlan(other, somePlan(), someRules());
        same(cairn.openRound(other), number, "same number");
        cairn.cancelRound(other, number);
        vm.stopPrank();
        isIn(number, Phase.Commit);
        check(RoundId.unwrap(cairn.roundIdOf(other, 1)) != RoundId.unwrap(roundId(1)), "ids differ");
    }
}
