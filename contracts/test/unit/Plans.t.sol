// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Plan} from "../../interfaces/ICairn.sol";
import {IRules} from "../../interfaces/IRules.sol";
import {Base} from "../support/Base.sol";

contract PlansTest is Base {
    uint32 internal constant LEAST = 30;
    uint32 internal constant MOST = 90 days;
    uint32 internal constant HEAVIEST = 1 << 28;

    function badTerm(string memory term, uint256 value, uint256 min, uint256 max) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IRules.BadTerm.selector, term, value, min, max);
    }

    function refuses(Plan memory plan, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(OWNER);
        cairn.setPlan(modelId, plan, someRules());
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
        cairn.setPlan(modelId, somePlan(), someRules());
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownModel.selector, bytes32("nobody")));
        cairn.setPlan(ModelId.wrap("nobody"), somePlan(), someRules());
    }

    function test_setPlan_refuses_what_the_specification_refuses() public {
        Plan memory plan = somePlan();
        plan.digest = 0;
        refuses(plan, abi.encodeWithSelector(ICairn.ZeroDigest.selector));
        plan = somePlan();
        plan.quorum = 0;
        refuses(plan, badTerm("quorum", 0, 1, type(uint16).max));
        plan = somePlan();
        plan.weightCap = 0;
        refuses(plan, badTerm("weightCap", 0, 1, HEAVIEST));
        plan.weightCap = HEAVIEST + 1;
        refuses(plan, badTerm("weightCap", HEAVIEST + 1, 1, HEAVIEST));
        plan = somePlan();
        plan.minContributions = 0;
        refuses(plan, badTerm("minContributions", 0, 1, type(uint32).max));
    }

    function test_setPlan_takes_up_to_four_hooks_none_of_them_zero() public {
        Plan memory plan = somePlan();
        plan.hooks = new address[](5);
        for (uint160 i = 0; i < 5; ++i) {
            plan.hooks[i] = address(0xB00 + i);
        }
        refuses(plan, abi.encodeWithSelector(IRules.TooManyHooks.selector, 5, 4));
        for (uint256 zero = 0; zero < 4; ++zero) {
            plan.hooks = new address[](4);
            for (uint160 i = 0; i < 4; ++i) {
                if (i != zero) plan.hooks[i] = address(0xB00 + i);
            }
            refuses(plan, abi.encodeWithSelector(IRules.ZeroHook.selector, zero));
        }
        plan.hooks[3] = STRANGER;
        setPlan(plan);
        address[] memory kept = cairn.plan(modelId, 1).hooks;
        same(keccak256(abi.encode(kept)), keccak256(abi.encode(plan.hooks)), "all four, in order");
    }


    function test_setPlan_bounds_every_duration() public {
        string[4] memory terms = ["commitDuration", "publishDuration", "aggregateDuration", "challengeDuration"];
        for (uint256 which = 0; which < 4; ++which) {
            refuses(durations(somePlan(), which, LEAST - 1), badTerm(terms[which], LEAST - 1, LEAST, MOST));
            refuses(durations(somePlan(), which, MOST + 1), badTerm(terms[which], MOST + 1, LEAST, MOST));
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
            refuses(plan, badTerm("answerDuration", bad[i], LEAST, 100));
        }
        plan.answerDuration = 100;
        setPlan(plan);
        plan.answerDuration = LEAST;
        setPlan(plan);
    }

    function test_setPlan_bounds_the_price_of_a_demand_by_four_times_an_answers_gas_at_100_gwei() public {
        Plan memory plan = somePlan();
        uint32 most = uint32(4 * cairn.COURT().ANSWER_GAS() * 100);
        same(cairn.RULES().MAX_DEMAND_PRICE_GWEI(), most, "most");
        check(uint256(most) * 1 gwei <= cairn.COURT().MAX_DEPOSIT(), "a deposit can be as large");
        uint32[2] memory bad = [most + 1, type(uint32).max];
        for (uint256 i = 0; i < bad.length; ++i) {
            plan.demandPriceGwei = bad[i];
            refuses(plan, badTerm("demandPriceGwei", bad[i], 0, most));
        }
        plan.demandPriceGwei = most;
        setPlan(plan);
    }

    function test_setPlan_bounds_the_late_duration_and_wants_a_bond_for_it() public {
        Plan memory plan = somePlan();
        (plan.challengeDuration, plan.answerDuration, plan.lateDuration) = (3231, 40, 1);
        refuses(plan, badTerm("lateDuration", 1, 0, 0));
        plan.bondGwei = 1;
        uint32[2] memory bad = [61, type(uint32).max];
        for (uint256 i = 0; i < bad.length; ++i) {
            plan.lateDuration = bad[i];
            refuses(plan, badTerm("lateDuration", bad[i], 0, 60));
        }
        plan.lateDuration = 60;
        setPlan(plan);
        plan.answerDuration = 100;
        refuses(plan, badTerm("lateDuration", 60, 0, 0));
        plan.lateDuration = 0;
        setPlan(plan);
    }

    function test_setPlan_bounds_enough_commitments_and_their_least_time() public {
        Plan memory plan = somePlan();
        plan.leastCommitDuration = 1;
        refuses(plan, badTerm("leastCommitDuration", 1, 0, 0));
        (plan.enoughCommitments, plan.leastCommitDuration) = (plan.minContributions - 1, LEAST);
        refuses(plan, badTerm("enoughCommitments", plan.enoughCommitments, plan.minContributions, type(uint32).max));
        plan.enoughCommitments = plan.minContributions;
        setPlan(plan);
        uint32[4] memory bad = [0, LEAST - 1, plan.commitDuration + 1, type(uint32).max];
        for (uint256 i = 0; i < bad.length; ++i) {
            plan.leastCommitDuration = bad[i];
            refuses(plan, badTerm("leastCommitDuration", bad[i], LEAST, plan.commitDuration));
        }
        (plan.enoughCommitments, plan.leastCommitDuration) = (type(uint32).max, plan.commitDuration);
        setPlan(plan);
    }

    function test_setPlan_wants_a_challenge_duration_that_holds_a_walk_through_a_hidden_tree() public {
        Plan memory plan = somePlan();
        plan.answerDuration = LEAST;
        plan.challengeDuration = 32 * LEAST - 1;
        refuses(plan, badTerm("answerDuration", LEAST, LEAST, LEAST - 1));
        plan.challengeDuration = 32 * LEAST;
        setPlan(plan);
        same(cairn.RULES().WALK_STEPS(), 32, "steps of a walk");
    }

    function test_setPlan_accepts_every_other_bound() public {
        Plan memory plan = somePlan();
        plan.quorum = type(uint16).max;
        plan.weightCap = HEAVIEST;
        plan.minContributions = type(uint32).max;
        setPlan(plan);
        plan.quorum = 1;
        plan.weightCap = 1;
        plan.minContributions = 1;
        setPlan(plan);
        same(cairn.model(modelId).plans, 3, "history");
    }

    function test_setPlan_appends_and_tells(Plan memory plan) public {
        plan.digest |= bytes32(uint256(1));
        plan.rulesHash = keccak256(someRules());
        plan.quorum |= 1;
        plan.weightCap = uint32(within(plan.weightCap, 1, HEAVIEST));
        plan.minContributions |= 1;
        plan.commitDuration = uint32(within(plan.commitDuration, LEAST, MOST));
        plan.publishDuration = uint32(within(plan.publishDuration, LEAST, MOST));
        plan.aggregateDuration = uint32(within(plan.aggregateDuration, LEAST, MOST));
        plan.challengeDuration = uint32(within(plan.challengeDuration, 32 * LEAST, MOST));
        plan.answerDuration = uint32(within(plan.answerDuration, LEAST, plan.challengeDuration / 32));
        plan.demandPriceGwei = uint32(within(plan.demandPriceGwei, 0, cairn.RULES().MAX_DEMAND_PRICE_GWEI()));
        uint32 latest = plan.bondGwei == 0 ? 0 : plan.challengeDuration / 32 - plan.answerDuration;
        plan.lateDuration = uint32(within(plan.lateDuration, 0, latest));
        if (plan.enoughCommitments < plan.minContributions) plan.enoughCommitments = 0;
        plan.leastCommitDuration =
            plan.enoughCommitments == 0 ? 0 : uint32(within(plan.leastCommitDuration, LEAST, plan.commitDuration));
        address[] memory hooks = new address[](plan.hooks.length % 5);
        for (uint256 i = 0; i < hooks.length; ++i) {
            hooks[i] = plan.hooks[i] == address(0) ? STRANGER : plan.hooks[i];
        }
        plan.hooks = hooks;
        expectEvent(address(cairn));
        emit ICairn.PlanSet(modelId, 1, plan, someRules());
        vm.prank(OWNER);
        same(cairn.setPlan(modelId, plan, someRules()), 1, "index");
        same(keccak256(abi.encode(cairn.plan(modelId, 1))), keccak256(abi.encode(plan)), "as set");
        same(keccak256(abi.encode(cairn.plan(modelId, 0))), keccak256(abi.encode(somePlan())), "history kept");
    }

    function test_setPlan_reverts_on_other_rules_than_the_plan_names(uint8 place) public {
        bytes memory other = someRules();
        other[within(place, 0, other.length - 1)] ^= 0x01;
        vm.expectRevert(
            abi.encodeWithSelector(IRules.OtherRules.selector, keccak256(other), keccak256(someRules()))
        );
        vm.prank(OWNER);
        cairn.setPlan(modelId, somePlan(), other);
    }

    function test_setPlan_reverts_on_what_are_no_rules() public {
        Plan memory plan = somePlan();
        bytes memory none = bytes.concat(someRules(), bytes1(0));
        plan.rulesHash = keccak256(none);
        vm.prank(OWNER);
        (bool done,) = address(cairn).call(abi.encodeCall(cairn.setPlan, (modelId, plan, none)));
        check(!done, "refused");
        same(cairn.model(modelId).plans, 1, "history");
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
