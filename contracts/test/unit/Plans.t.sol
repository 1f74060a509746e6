// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Plan} from "../../interfaces/ICairn.sol";
import {IRules} from "../../interfaces/IRules.sol";
import {Base} from "../support/Base.sol";

contract PlansTest is Base {
    uint32 internal constant LEAST = 30;
    uint32 internal constant MOST = 90 days;
    uint32 internal constant HEAVIEST = 1 << 28;

    function refuses(Plan memory plan, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(OWNER);
        cairn.setPlan(modelId, plan);
    }

    function durations(Plan memory plan, uint256 which, uint32 duration) internal pure returns (Plan memory) {
        if (which == 0) plan.commitDuration = duration;
        if (which == 1) plan.publishDuration = duration;
        if (which == 2) plan.aggregateDuration = duration;
        if (which == 3) plan.challengeDuration = duration;
        return plan;
    }

    function test_setPlan_reverts_for_all_but_the_owner() public {
        vm.expectRevert(notOwner(participants[0]));
        vm.prank(participants[0]);
        cairn.setPlan(modelId, somePlan());
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownModel.selector, bytes32("nobody")));
        cairn.setPlan(ModelId.wrap("nobody"), somePlan());
    }

    function test_setPlan_refuses_what_the_specification_refuses() public {
        Plan memory plan = somePlan();
        plan.digest = 0;
        refuses(plan, abi.encodeWithSelector(ICairn.ZeroDigest.selector));
        plan = somePlan();
        plan.combineRule = 0;
        refuses(plan, abi.encodeWithSelector(IRules.BadRule.selector, 0, 1));
        plan = somePlan();
        plan.serverRule = 0;
        refuses(plan, abi.encodeWithSelector(IRules.BadRule.selector, 1, 0));
        plan = somePlan();
        plan.gridBits = 127;
        refuses(plan, abi.encodeWithSelector(IRules.BadGrid.selector, 127, 126));
        plan = somePlan();
        plan.quorum = 0;
        refuses(plan, abi.encodeWithSelector(IRules.BadQuorum.selector, 0));
        plan = somePlan();
        plan.weightCap = 0;
        refuses(plan, abi.encodeWithSelector(IRules.BadWeightCap.selector, 0, HEAVIEST));
        plan.weightCap = HEAVIEST + 1;
        refuses(plan, abi.encodeWithSelector(IRules.BadWeightCap.selector, HEAVIEST + 1, HEAVIEST));
        plan = somePlan();
        plan.minContributions = 0;
        refuses(plan, abi.encodeWithSelector(IRules.BadMinContributions.selector, 0));
    }

    function test_rules_say_the_same_to_whoever_asks(uint8 gridBits) public {
        Plan memory plan = somePlan();
        plan.gridBits = gridBits;
        IRules rules = cairn.RULES();
        if (gridBits > 126) vm.expectRevert(abi.encodeWithSelector(IRules.BadGrid.selector, gridBits, 126));
        vm.prank(STRANGER);
        rules.requirePlan(plan);
    }

    function test_setPlan_bounds_every_duration() public {
        for (uint256 which = 0; which < 4; ++which) {
            bytes memory reason = abi.encodeWithSelector(IRules.BadDuration.selector, LEAST - 1, LEAST, MOST);
            refuses(durations(somePlan(), which, LEAST - 1), reason);
            reason = abi.encodeWithSelector(IRules.BadDuration.selector, MOST + 1, LEAST, MOST);
            refuses(durations(somePlan(), which, MOST + 1), reason);
            // An answer must fit many times into the shortest challenge duration, so its bound is above this one.
            if (which != 3) setPlan(durations(somePlan(), which, LEAST));
            setPlan(durations(somePlan(), which, MOST));
        }
        same(cairn.model(modelId).plans, 8, "bounds are inside");
    }

    function test_setPlan_bounds_the_answer_duration() public {
        Plan memory plan = somePlan();
        plan.challengeDuration = 3231;
        uint32[4] memory bad = [0, LEAST - 1, 101, type(uint32).max];
        for (uint256 i = 0; i < bad.length; ++i) {
            plan.answerDuration = bad[i];
            refuses(plan, abi.encodeWithSelector(IRules.BadAnswerDuration.selector, bad[i], LEAST, 100));
        }
        plan.answerDuration = 100;
        setPlan(plan);
        plan.answerDuration = LEAST;
        setPlan(plan);
    }

    function test_setPlan_wants_a_challenge_duration_that_holds_a_walk_through_a_hidden_tree() public {
        Plan memory plan = somePlan();
        plan.answerDuration = LEAST;
        plan.challengeDuration = 32 * LEAST - 1;
        refuses(plan, abi.encodeWithSelector(IRules.BadAnswerDuration.selector, LEAST, LEAST, LEAST - 1));
        plan.challengeDuration = 32 * LEAST;
        setPlan(plan);
        same(cairn.RULES().WALK_STEPS(), 32, "steps of a walk");
    }

    function test_setPlan_accepts_every_other_bound() public {
        Plan memory plan = somePlan();
        plan.gridBits = 126;
        plan.quorum = type(uint16).max;
        plan.weightCap = HEAVIEST;
        plan.minContributions = type(uint32).max;
        plan.combineRule = type(uint16).max;
        plan.serverRule = type(uint16).max;
        setPlan(plan);
        plan.gridBits = 0;
        plan.quorum = 1;
        plan.weightCap = 1;
        plan.minContributions = 1;
        setPlan(plan);
        same(cairn.model(modelId).plans, 3, "history");
    }

    function test_setPlan_appends_and_tells(Plan memory plan) public {
        plan.digest |= bytes32(uint256(1));
        plan.combineRule |= 1;
        plan.serverRule |= 1;
        plan.gridBits = uint8(within(plan.gridBits, 0, 126));
        plan.quorum |= 1;
        plan.weightCap = uint32(within(plan.weightCap, 1, HEAVIEST));
        plan.minContributions |= 1;
        plan.commitDuration = uint32(within(plan.commitDuration, LEAST, MOST));
        plan.publishDuration = uint32(within(plan.publishDuration, LEAST, MOST));
        plan.aggregateDuration = uint32(within(plan.aggregateDuration, LEAST, MOST));
        plan.challengeDuration = uint32(within(plan.challengeDuration, 32 * LEAST, MOST));
        plan.answerDuration = uint32(within(plan.answerDuration, LEAST, plan.challengeDuration / 32));
        expectEvent(address(cairn));
        emit ICairn.PlanSet(modelId, 1, plan);
        vm.prank(OWNER);
        same(cairn.setPlan(modelId, plan), 1, "index");
        same(keccak256(abi.encode(cairn.plan(modelId, 1))), keccak256(abi.encode(plan)), "as set");
        same(keccak256(abi.encode(cairn.plan(modelId, 0))), keccak256(abi.encode(somePlan())), "history kept");
    }

    function test_plan_past_the_end_reverts() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownPlan.selector, modelId, 1));
        cairn.plan(modelId, 1);
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownPlan.selector, modelId, type(uint32).max));
        cairn.plan(modelId, type(uint32).max);
    }

    function test_a_plan_counts_from_the_next_round_on() public {
        uint64 number = open();
        Plan memory plan = somePlan();
        plan.weightCap = 1;
        plan.quorum = 7;
        setPlan(plan);
        same(cairn.round(modelId, number).weightCap, CAP, "cap of the open round");
        same(cairn.round(modelId, number).quorum, 2, "quorum of the open round");
        commitAll(number);
        forward(COMMIT + PUBLISH + AGGREGATE);
        number = open();
        same(cairn.round(modelId, number).weightCap, 1, "cap of the next");
        same(cairn.round(modelId, number).quorum, 7, "quorum of the next");
        same(cairn.round(modelId, number).planIndex, 1, "plan of the next");
    }
}
