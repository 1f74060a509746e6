// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Phase, Plan, SignedUpdate} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";
import {ReentrantHook} from "../mocks/Hooks.sol";

/// @notice A hook that calls back finds a finished commitment and no more rights than it has anyway.
contract ReentrancyTest is Base {
    ReentrantHook internal hook;
    uint64 internal number;

    function setUp() public override {
        super.setUp();
        hook = new ReentrantHook();
        Plan memory plan = somePlan();
        plan.hooks = new address[](1);
        plan.hooks[0] = address(hook);
        setPlan(plan);
        number = open();
    }

    function becomesMember(uint8 roles) internal {
        vm.prank(OWNER);
        cairn.grantRoles(modelId, address(hook), roles);
    }

    function commitCall() internal view returns (bytes memory) {
        return abi.encodeWithSignature(
            "commitUpdate(bytes32,uint64,bytes32,bytes32,uint32,uint32)", modelId, number, DIGEST, ROOT, WEIGHT, STEPS
        );
    }

    function answeredWith(bytes memory reason) internal view {
        check(!hook.succeeded(), "the call back failed");
        same(keccak256(hook.answer()), keccak256(reason), "for the reason expected");
    }

    function test_reentrant_commit_by_a_hook_without_a_role_reverts() public {
        hook.arm(commitCall());
        commit(participants[0], number);
        answeredWith(missingRole(address(hook), P));
    }

    function test_reentrant_commit_by_a_participating_hook_is_one_ordinary_commitment() public {
        becomesMember(P);
        hook.arm(commitCall());
        bytes32 expected = extended(runningHash(number), participants[0], DIGEST, ROOT, WEIGHT, STEPS);
        expected = extended(expected, address(hook), DIGEST, ROOT, WEIGHT, STEPS);
        commit(participants[0], number);
        same(runningHash(number), expected, "both, in log order");
        // Its own commitment called it again, and that second one was refused.
        same(cairn.member(modelId, address(hook)).lastRound, number, "last round");
    }

    function test_replaying_the_same_delegated_commitment_from_inside_reverts() public {
        address participant = participants[0];
        SignedUpdate memory u = updateOf(participant);
        sign(keyOf[participant], number, u);
        hook.arm(abi.encodeCall(cairn.commitUpdateFor, (modelId, number, u)));
        cairn.commitUpdateFor(modelId, number, u);
        answeredWith(abi.encodeWithSelector(ICairn.AlreadyCommitted.selector, roundId(number), participant));
    }

    function test_replaying_a_list_from_inside_makes_each_of_its_commitments_once() public {
        SignedUpdate[] memory list = new SignedUpdate[](3);
        bytes32 expected = runningHash(number);
        for (uint256 i = 0; i < 3; ++i) {
            list[i] = updateOf(participants[i]);
            sign(keyOf[participants[i]], number, list[i]);
        }
        // The first asks the hook, which sends the whole list again; its hook calls, too, and so on.
        hook.arm(abi.encodeCall(cairn.commitUpdatesFor, (modelId, number, list)));
        cairn.commitUpdatesFor{gas: 20_000_000}(modelId, number, list);
        same(cairn.round(modelId, number).commitments, 3, "three");
        for (uint256 i = 0; i < 3; ++i) {
            expected = extended(expected, participants[i], DIGEST, ROOT, WEIGHT, STEPS);
        }
        same(runningHash(number), expected, "each once");
    }

    function test_attesting_from_inside_reverts() public {
        becomesMember(A);
        hook.arm(abi.encodeCall(cairn.attestResult, (modelId, number, someResult("v1"), runningHash(number))));
        commit(participants[0], number);
        answeredWith(wrongPhase(number, Phase.Aggregate, Phase.Commit));
    }

    function test_cancelling_from_inside_reverts() public {
        hook.arm(abi.encodeCall(cairn.cancelRound, (modelId, number)));
        commit(participants[0], number);
        answeredWith(notOwner(address(hook)));
    }

    function test_ending_commits_from_inside_counts_the_commitment_being_made() public {
        commit(participants[0], number);
        commit(participants[1], number);
        hook.arm(abi.encodeCall(cairn.endCommits, (modelId, number, participants)));
        commit(participants[2], number);
        check(hook.succeeded(), "anyone may end commits, a hook too");
        same(cairn.round(modelId, number).commitments, 3, "all three");
        same(uint256(cairn.phase(modelId, number)), uint256(Phase.Publish), "phase");
    }
}
