// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Plan, SignedUpdate} from "../../interfaces/ICairn.sol";
import {IHook} from "../../interfaces/IHook.sol";
import {AllowListHook} from "../../hooks/AllowListHook.sol";
import {Base} from "../support/Base.sol";
import {Deploy} from "../support/Deploy.sol";
import {AnsweringHook, RecordingHook} from "../mocks/Hooks.sol";

contract HooksTest is Base {
    function openWith(address hook) internal returns (uint64) {
        Plan memory plan = somePlan();
        plan.hooks = new address[](1);
        plan.hooks[0] = hook;
        setPlan(plan);
        return open();
    }

    function refuses(address hook, bytes memory reason) internal {
        uint64 number = openWith(hook);
        bytes32 before = runningHash(number);
        vm.expectRevert(reason);
        vm.prank(participants[0]);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, STEPS);
        same(runningHash(number), before, "undone");
        same(cairn.member(modelId, participants[0]).lastRound, 0, "may try again");
        vm.prank(OWNER);
        cairn.cancelRound(modelId, number);
    }

    function refused(address hook) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.HookRefused.selector, hook);
    }

    function test_a_hook_is_told_everything_after_the_commitment_stands() public {
        RecordingHook hook = new RecordingHook();
        uint64 number = openWith(address(hook));
        vm.prank(participants[0]);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, STEPS, with("ticket"));
        bytes32 expected =
            keccak256(abi.encode(modelId, number, participants[0], DIGEST, ROOT, WEIGHT, STEPS, bytes("ticket")));
        same(hook.seen(), expected, "told");
        same(hook.lastRound(), number, "after the commitment");
    }

    function test_a_hook_is_asked_with_no_data_by_the_short_form() public {
        RecordingHook hook = new RecordingHook();
        uint64 number = openWith(address(hook));
        commit(participants[0], number);
        bytes32 expected = keccak256(abi.encode(modelId, number, participants[0], DIGEST, ROOT, WEIGHT, STEPS, bytes("")));
        same(hook.seen(), expected, "told");
    }

    function test_a_hook_is_asked_for_delegated_commits_with_the_signed_data() public {
        RecordingHook hook = new RecordingHook();
        uint64 number = openWith(address(hook));
        address participant = participants[0];
        SignedUpdate memory u = updateOf(participant);
        u.hookData = with("ticket");
        sign(keyOf[participant], number, u);
        u.hookData = with("another");
        vm.expectRevert(abi.encodeWithSelector(ICairn.BadSignature.selector, participant));
        cairn.commitUpdateFor(modelId, number, u);
        u.hookData = with("ticket");
        cairn.commitUpdateFor(modelId, number, u);
        bytes32 expected = keccak256(abi.encode(modelId, number, participant, DIGEST, ROOT, WEIGHT, STEPS, bytes("ticket")));
        same(hook.seen(), expected, "told");
    }

    function test_any_other_answer_refuses() public {
        bytes4 yes = IHook.onCommit.selector;
        bytes[4] memory answers =
            [bytes(""), abi.encodePacked(yes), abi.encode(bytes4(0)), abi.encodePacked(yes, bytes28("dirty"))];
        for (uint256 i = 0; i < answers.length; ++i) {
            address hook = address(new AnsweringHook(answers[i], false));
            refuses(hook, refused(hook));
        }
    }

    function test_an_account_without_code_refuses() public {
        refuses(STRANGER, refused(STRANGER));
    }

    function test_a_revert_without_a_word_refuses() public {
        address hook = address(new AnsweringHook("", true));
        refuses(hook, refused(hook));
    }

    function test_a_revert_with_reasons_is_passed_on() public {
        refuses(address(new AnsweringHook("no stake", true)), "no stake");
    }

    function test_a_revert_with_the_right_answer_still_refuses() public {
        bytes memory yes = abi.encode(IHook.onCommit.selector);
        refuses(address(new AnsweringHook(yes, true)), yes);
    }

    function test_hooks_are_asked_in_order_each_with_its_own_data() public {
        RecordingHook[4] memory hooks;
        Plan memory plan = somePlan();
        plan.hooks = new address[](4);
        for (uint256 i = 0; i < 4; ++i) {
            hooks[i] = new RecordingHook();
            plan.hooks[i] = address(hooks[i]);
        }
        setPlan(plan);
        uint64 number = open();
        bytes[] memory hookData = new bytes[](3);
        (hookData[0], hookData[2]) = ("first", "third");
        vm.prank(participants[0]);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, STEPS, hookData);
        bytes[4] memory told = [bytes("first"), "", "third", ""];
        for (uint256 i = 0; i < 4; ++i) {
            bytes32 expected =
                keccak256(abi.encode(modelId, number, participants[0], DIGEST, ROOT, WEIGHT, STEPS, told[i]));
            same(hooks[i].seen(), expected, "told its own");
            if (i != 0) check(hooks[i].asked() > hooks[i - 1].asked(), "in order");
        }
    }

    function test_one_hook_that_refuses_undoes_what_the_others_did() public {
        RecordingHook yes = new RecordingHook();
        AnsweringHook no = new AnsweringHook("", true);
        Plan memory plan = somePlan();
        plan.hooks = new address[](2);
        (plan.hooks[0], plan.hooks[1]) = (address(yes), address(no));
        setPlan(plan);
        uint64 number = open();
        vm.expectRevert(refused(address(no)));
        vm.prank(participants[0]);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, STEPS);
        same(yes.seen(), 0, "undone with it");
    }

    function test_a_round_keeps_the_hook_it_was_opened_with() public {
        RecordingHook first = new RecordingHook();
        uint64 number = openWith(address(first));
        setPlan(somePlan());
        commit(participants[0], number);
        check(first.seen() != 0, "asked");
        vm.prank(OWNER);
        cairn.cancelRound(modelId, number);
        number = open();
        Plan memory plan = somePlan();
        plan.hooks = new address[](1);
        plan.hooks[0] = STRANGER;
        setPlan(plan);
        commit(participants[0], number);
    }
}

contract AllowListHookTest is Base {
    AllowListHook internal hook;
    bytes32 internal constant SIBLING = "sibling";
    uint64 internal number;

    function leafOf(address account) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account))));
    }

    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    function setUp() public override {
        super.setUp();
        hook = Deploy.allowListHook(pair(pair(leafOf(participants[0]), leafOf(participants[1])), SIBLING));
        Plan memory plan = somePlan();
        plan.hooks = new address[](1);
        plan.hooks[0] = address(hook);
        setPlan(plan);
        number = open();
    }

    function proofOf(bytes32 sibling) internal pure returns (bytes memory) {
        bytes32[] memory proof = new bytes32[](2);
        (proof[0], proof[1]) = (sibling, SIBLING);
        return abi.encode(proof);
    }

    function refuses(address participant, bytes memory hookData) internal {
        vm.expectRevert(abi.encodeWithSelector(ICairn.HookRefused.selector, hook));
        vm.prank(participant);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, STEPS, with(hookData));
    }

    function test_allow_list_admits_who_is_on_it() public {
        vm.prank(participants[0]);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, STEPS, with(proofOf(leafOf(participants[1]))));
        vm.prank(participants[1]);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, STEPS, with(proofOf(leafOf(participants[0]))));
    }

    function test_allow_list_refuses_another_account_with_a_proof_of_a_listed_one() public {
        refuses(participants[2], proofOf(leafOf(participants[1])));
        refuses(participants[2], proofOf(leafOf(participants[2])));
    }

    function test_allow_list_refuses_data_that_is_no_proof() public {
        refuses(participants[0], "");
        refuses(participants[0], "no proof");
        refuses(participants[0], abi.encode(new bytes32[](0)));
    }

    function test_allow_list_root_is_public() public view {
        check(hook.root() != 0, "root");
    }
}
