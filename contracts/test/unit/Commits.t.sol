// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Phase, Plan} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";

contract CommitsTest is Base {
    uint64 internal number;
    address internal participant;

    function setUp() public override {
        super.setUp();
        number = open();
        participant = participants[0];
    }

    function refuses(address caller, bytes32 digest, bytes32 root, uint32 weight, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(caller);
        cairn.commitUpdate(modelId, number, digest, root, weight, STEPS);
        vm.expectRevert(reason);
        vm.prank(caller);
        cairn.commitUpdate(modelId, number, digest, root, weight, STEPS, with("data"));
    }

    function test_commitUpdate_reverts_on_unknown_round() public {
        bytes memory reason = abi.encodeWithSelector(ICairn.UnknownRound.selector, modelId, 2);
        number = 2;
        refuses(participant, DIGEST, ROOT, WEIGHT, reason);
    }

    function test_commitUpdate_counts_in_the_last_second_and_not_in_the_next() public {
        forward(COMMIT - 1);
        commit(participant, number);
        forward(1);
        refuses(participants[1], DIGEST, ROOT, WEIGHT, wrongPhase(number, Phase.Commit, Phase.Publish));
    }

    function test_commitUpdate_reverts_in_every_later_phase() public {
        commitAll(number);
        forward(COMMIT + PUBLISH);
        refuses(participant, DIGEST, ROOT, WEIGHT, wrongPhase(number, Phase.Commit, Phase.Aggregate));
        agree(number, someResult("v1"));
        refuses(participant, DIGEST, ROOT, WEIGHT, wrongPhase(number, Phase.Commit, Phase.Challenge));
        forward(CHALLENGE);
        refuses(participant, DIGEST, ROOT, WEIGHT, wrongPhase(number, Phase.Commit, Phase.Final));
    }

    function test_commitUpdate_reverts_in_a_cancelled_round() public {
        vm.prank(OWNER);
        cairn.cancelRound(modelId, number);
        refuses(participant, DIGEST, ROOT, WEIGHT, wrongPhase(number, Phase.Commit, Phase.Cancelled));
    }

    function test_commitUpdate_reverts_without_the_role() public {
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, participant, P);
        address[4] memory callers = [STRANGER, aggregators[0], OWNER, participant];
        for (uint256 i = 0; i < callers.length; ++i) {
            refuses(callers[i], DIGEST, ROOT, WEIGHT, missingRole(callers[i], P));
        }
    }

    function test_commitUpdate_reverts_the_second_time_even_after_a_new_grant() public {
        commit(participant, number);
        bytes memory reason = abi.encodeWithSelector(ICairn.AlreadyCommitted.selector, roundId(number), participant);
        refuses(participant, "another", ROOT, WEIGHT, reason);
        vm.startPrank(OWNER);
        cairn.revokeRoles(modelId, participant, P);
        cairn.grantRoles(modelId, participant, P);
        vm.stopPrank();
        refuses(participant, "another", ROOT, WEIGHT, reason);
    }

    function test_commitUpdate_reverts_on_zeros() public {
        refuses(participant, 0, ROOT, WEIGHT, abi.encodeWithSelector(ICairn.ZeroDigest.selector));
        refuses(participant, DIGEST, 0, WEIGHT, abi.encodeWithSelector(ICairn.ZeroRoot.selector));
    }

    function test_commitUpdate_admits_steps_from_one_to_a_million(uint32 steps) public {
        uint32 most = 1 << 20;
        uint32[3] memory bad = [0, most + 1, uint32(within(steps, most + 1, type(uint32).max))];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICairn.BadSteps.selector, bad[i], most));
            vm.prank(participant);
            cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, bad[i]);
        }
        vm.prank(participant);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, uint32(within(steps, 1, most)));
    }

    function test_commitUpdate_admits_weights_from_one_to_the_cap(uint32 weight) public {
        uint32 heavy = weight > CAP ? weight : weight + CAP + 1;
        refuses(participant, DIGEST, ROOT, heavy, abi.encodeWithSelector(ICairn.BadWeight.selector, heavy, CAP));
        refuses(participant, DIGEST, ROOT, 0, abi.encodeWithSelector(ICairn.BadWeight.selector, 0, CAP));
        vm.prank(participant);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, uint32(within(weight, 1, CAP)), STEPS);
    }

    function test_commitUpdate_admits_both_bounds() public {
        vm.prank(participants[0]);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, 1, STEPS);
        vm.prank(participants[1]);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, CAP, STEPS);
        bytes memory reason = abi.encodeWithSelector(ICairn.BadWeight.selector, CAP + 1, CAP);
        refuses(participants[2], DIGEST, ROOT, CAP + 1, reason);
    }

    function test_commitUpdate_extends_the_running_hash_in_order(bytes32[3] memory digests, bytes32[3] memory roots)
        public
    {
        bytes32 expected = runningHash(number);
        for (uint256 i = 0; i < 3; ++i) {
            bytes32 digest = digests[i] | bytes32(uint256(1));
            bytes32 root = roots[i] | bytes32(uint256(1));
            (uint32 weight, uint32 steps) = (uint32(i) + 1, i == 2 ? 1 << 20 : uint32(7 * i + 1));
            expectEvent(address(cairn));
            emit ICairn.UpdateCommitted(roundId(number), participants[i], digest, root, weight, steps);
            vm.prank(participants[i]);
            if (i == 1) cairn.commitUpdate(modelId, number, digest, root, weight, steps, with("no hook asks"));
            else cairn.commitUpdate(modelId, number, digest, root, weight, steps);
            expected = extended(expected, participants[i], digest, root, weight, steps);
            same(runningHash(number), expected, "running hash");
            same(uint256(expected) % 2 ** 32, i + 1, "its number");
            same(cairn.round(modelId, number).commitments, i + 1, "commitments");
            same(cairn.member(modelId, participants[i]).lastRound, number, "last round");
            same(cairn.member(modelId, participants[i]).roles, P, "roles kept");
        }
    }

    function test_commitUpdate_is_open_again_in_the_next_round() public {
        commit(participant, number);
        forward(COMMIT + PUBLISH + AGGREGATE);
        number = open();
        commit(participant, number);
        same(cairn.member(modelId, participant).lastRound, 2, "last round");
    }

    function test_a_participant_granted_during_the_round_may_commit() public {
        vm.prank(OWNER);
        cairn.grantRoles(modelId, STRANGER, P);
        commit(STRANGER, number);
    }

    function test_a_cap_changed_meanwhile_does_not_count_for_the_open_round() public {
        Plan memory plan = somePlan();
        plan.weightCap = 1;
        setPlan(plan);
        vm.prank(participant);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, CAP, STEPS);
    }
}
