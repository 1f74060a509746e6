// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "../support/Test.sol";
import {Disputant} from "./Disputant.sol";

/// @notice What holds after any sequence of lies, challenges, demands and payments.
contract DisputesInvariants is Test {
    Disputant internal handler;

    struct Selectors {
        address target;
        bytes4[] selectors;
    }

    function setUp() public {
        handler = new Disputant();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() public view returns (Selectors[] memory targets) {
        bytes4[19] memory moves = [
            // Several times, so that rounds get through.
            Disputant.advance.selector,
            Disputant.advance.selector,
            Disputant.advance.selector,
            Disputant.attestHonest.selector,
            Disputant.lie.selector,
            Disputant.convict.selector,
            Disputant.challengeFalsely.selector,
            Disputant.dawdle.selector,
            Disputant.demand.selector,
            Disputant.demand.selector,
            Disputant.pass.selector,
            Disputant.answerLate.selector,
            Disputant.tarry.selector,
            Disputant.close.selector,
            Disputant.expel.selector,
            Disputant.reveal.selector,
            Disputant.collect.selector,
            Disputant.release.selector,
            Disputant.withdraw.selector
        ];
        targets = new Selectors[](1);
        targets[0].target = address(handler);
        targets[0].selectors = new bytes4[](moves.length);
        for (uint256 i = 0; i < moves.length; ++i) {
            targets[0].selectors[i] = moves[i];
        }
    }

    function invariant_honest_attesters_who_answer_keep_their_role_and_their_bond() public view {
        for (uint256 i = 0; i < 2; ++i) {
            address one = handler.everyone(i);
            same(handler.rolesOf(one), 2, "role");
            same(handler.bondOf(one), handler.putIn(one), "bond");
        }
    }

    function invariant_money_in_is_money_out() public view {
        same(handler.inside(), handler.accounted(), "bonds, credits, rewards, deposits, and what is burnt");
    }

    function invariant_open_demands_are_counted() public view {
        check(handler.countsOpen(), "how many, their deposits, and never more burnt than half of the bonds");
    }

    function invariant_the_model_can_always_go_on() public {
        handler.goOn();
    }
}
