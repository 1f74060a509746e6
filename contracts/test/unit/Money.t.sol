// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Phase} from "../../interfaces/ICairn.sol";
import {Bond, ICourt} from "../../interfaces/ICourt.sol";
import {Bonded} from "../support/Bonded.sol";
import {World} from "../support/Disputes.sol";
import {Payee} from "../mocks/Payee.sol";

contract MoneyTest is Bonded {
    function releaseCall(uint128 amount) internal view returns (bytes memory) {
        return abi.encodeCall(court.releaseBond, (modelId, amount));
    }

    function isLocked(address aggregator, uint64 number) internal {
        refuses(
            aggregator,
            0,
            releaseCall(BOND),
            abi.encodeWithSelector(ICourt.BondIsLocked.selector, modelId, aggregator, number)
        );
    }

    function releases(address aggregator, uint128 amount) internal {
        uint256 before = court.credit(aggregator);
        bytes memory call = releaseCall(amount);
        expectEvent(address(court));
        emit ICourt.BondReleased(modelId, aggregator, amount);
        succeeds(aggregator, call);
        same(court.credit(aggregator), before + amount, "credited");
    }

    function held(address aggregator) internal view returns (Bond memory) {
        return court.bond(modelId, aggregator);
    }

    // ---------------------------------------------------------------------------------------------------------- paying

    function test_depositBond_adds_up_and_tells(uint64 one, uint64 two) public {
        vm.deal(STRANGER, uint256(one) + two);
        uint64[2] memory amounts = [one, two];
        for (uint256 i = 0; i < 2; ++i) {
            expectEvent(address(court));
            emit ICourt.BondDeposited(modelId, STRANGER, amounts[i]);
            succeeds(STRANGER, amounts[i], abi.encodeCall(court.depositBond, (modelId)));
        }
        same(held(STRANGER).amount, uint256(one) + two, "sum");
        same(held(STRANGER).lockedRound, 0, "not locked");
        same(court.bond(ModelId.wrap("other"), STRANGER).amount, 0, "of that model alone");
    }

    function test_only_cairn_locks_and_slashes(address caller) public {
        vm.assume(caller != address(cairn));
        bytes memory reason = abi.encodeWithSelector(ICourt.NotCairn.selector, caller);
        refuses(caller, 0, abi.encodeCall(court.lockBond, (modelId, 1, aggregators[0], 1)), reason);
        bytes memory call = abi.encodeCall(court.slashBond, (modelId, roundId(1), lie, aggregators[0], 1));
        refuses(caller, 0, call, reason);
    }

    function test_money_that_is_for_nothing_is_not_taken() public {
        vm.deal(STRANGER, 1 ether);
        refuses(STRANGER, 1, "", "");
        refuses(STRANGER, 1, abi.encodeCall(court.withdraw, (STRANGER)), "");
    }

    // --------------------------------------------------------------------------------------------------------- locking

    function test_attesting_takes_a_bond_of_at_least_the_plans() public {
        releases(aggregators[0], 1);
        bytes32 running = runningHash(current);
        vm.expectRevert(
            abi.encodeWithSelector(ICourt.BondTooSmall.selector, modelId, aggregators[0], BOND - 1, BOND)
        );
        vm.prank(aggregators[0]);
        cairn.attestResult(modelId, current, told().result, running);
        succeeds(aggregators[0], 1, abi.encodeCall(court.depositBond, (modelId)));
        attest(aggregators[0], current, told().result);
        same(held(aggregators[0]).lockedRound, current, "locked");
        same(held(aggregators[0]).amount, BOND, "whole");
        same(held(aggregators[2]).lockedRound, 0, "others are not");
    }

    function test_a_plan_without_a_bond_asks_for_none() public {
        bondGwei = 0;
        World memory w = honest(3, 24);
        anchor(w);
        agreed(w);
        same(held(aggregators[0]).lockedRound, 0, "not locked");
    }

    function test_releaseBond_reverts_on_more_than_there_is() public {
        refuses(
            aggregators[0],
            0,
            releaseCall(BOND + 1),
            abi.encodeWithSelector(ICourt.BondTooSmall.selector, modelId, aggregators[0], BOND, BOND + 1)
        );
        releases(aggregators[0], BOND);
        refuses(
            aggregators[0],
            0,
            releaseCall(1),
            abi.encodeWithSelector(ICourt.BondTooSmall.selector, modelId, aggregators[0], uint256(0), 1)
        );
    }

    function test_a_bond_is_locked_until_the_moved_window_has_closed() public {
        attest(aggregators[0], current, told().result);
        isLocked(aggregators[0], current);
        attest(aggregators[1], current, told().result);
        isLocked(aggregators[0], current);
        vm.prank(address(court));
        cairn.extendWindow(modelId, current);
        forward(2 * CHALLENGE - 1);
        isLocked(aggregators[0], current);
        isLocked(aggregators[1], current);
        releases(aggregators[2], BOND); // it attested nothing
        forward(1);
        releases(aggregators[0], BOND - 1); // final, though nobody has finalized
        cairn.finalizeRound(modelId, current, told().result);
        releases(aggregators[1], BOND);
    }

    function test_a_bond_is_free_once_its_round_has_lapsed() public {
        attest(aggregators[0], current, told().result);
        forward(AGGREGATE - 1);
        isLocked(aggregators[0], current);
        forward(1);
        same(uint256(cairn.phase(modelId, current)), uint256(Phase.Cancelled), "lapsed");
        releases(aggregators[0], BOND);
    }

    function test_a_bond_behind_a_void_result_is_locked_until_it_is_taken() public {
        succeeds(aggregators[0], 2 ether, abi.encodeCall(court.depositBond, (modelId)));
        lied();
        isLocked(aggregators[0], current);
        forward(10 * 365 days);
        isLocked(aggregators[0], current);
        expelTwo();
        same(held(aggregators[0]).amount, 2 ether, "what is over the bond");
        releases(aggregators[0], 2 ether);
        same(held(aggregators[1]).amount, 0, "taken");
    }

    function test_a_bond_behind_another_result_than_the_void_one_is_free_in_the_end() public {
        World memory other = honest(3, 24);
        other.result = told().result;
        other.result.versionDigest = "other";
        attest(aggregators[2], current, other.result);
        lied();
        isLocked(aggregators[2], current);
        forward(AGGREGATE);
        releases(aggregators[2], BOND);
    }

    function test_one_bond_serves_round_after_round() public {
        agree(current, told().result);
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, current, told().result);
        uint64 next = open();
        commitAll(next);
        releases(aggregators[0], 1);
        succeeds(aggregators[0], 1, abi.encodeCall(court.depositBond, (modelId)));
        forward(COMMIT + PUBLISH);
        agree(next, someResult("next"));
        same(held(aggregators[0]).lockedRound, next, "locked for the next");
        isLocked(aggregators[0], next);
        forward(CHALLENGE);
        releases(aggregators[0], BOND);
    }

    // -------------------------------------------------------------------------------------------------------- slashing

    function test_expelling_takes_the_bond_half_of_the_first_for_who_knew_and_tells() public {
        lied();
        address[] memory one = new address[](1);
        one[0] = aggregators[1];
        expectEvent(address(cairn));
        emit ICairn.AggregatorExpelled(roundId(current), aggregators[1], lie);
        expectEvent(address(court));
        emit ICourt.BondSlashed(modelId, aggregators[1], roundId(current), BOND);
        cairn.expel(modelId, current, one);
        same(court.burnt(), BOND / 2, "burnt");
        same(court.reward(roundId(current), lie), BOND / 2, "for who knew first");
        same(held(aggregators[1]).amount, 0, "taken");
        same(held(aggregators[0]).amount, BOND, "not yet");
        one[0] = aggregators[0];
        cairn.expel(modelId, current, one);
        same(court.burnt(), BOND / 2 + BOND, "the second is burnt whole");
        same(court.reward(roundId(current), lie), BOND / 2, "half of one");
        same(address(court).balance, 3 * BOND, "nothing has left");
    }

    function test_the_largest_bond_is_taken_whole() public {
        bondGwei = type(uint64).max;
        uint256 amount = uint256(bondGwei) * 1 gwei;
        World memory w = honest(3, 24);
        anchor(w);
        for (uint256 i = 0; i < 2; ++i) {
            vm.deal(aggregators[i], amount);
            succeeds(aggregators[i], amount, abi.encodeCall(court.depositBond, (modelId)));
        }
        w.result.roots.rest = "another";
        agreed(w);
        succeeds(CHALLENGER, abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w))));
        expelTwo();
        same(court.burnt(), amount + amount / 2 + amount % 2, "one and a half");
        same(court.reward(roundId(current), hashOf(w.result)), amount / 2, "half of one");
    }

    // -------------------------------------------------------------------------------------------------------- withdraw

    function test_withdraw_pays_once() public {
        bytes memory call = abi.encodeCall(court.withdraw, (aggregators[0]));
        refuses(aggregators[0], 0, call, nothing(aggregators[0]));
        releases(aggregators[0], BOND);
        uint256 before = aggregators[0].balance;
        expectEvent(address(court));
        emit ICourt.Withdrawn(aggregators[0], aggregators[0], BOND);
        succeeds(aggregators[0], call);
        same(aggregators[0].balance, before + BOND, "paid");
        same(court.credit(aggregators[0]), 0, "no credit left");
        refuses(aggregators[0], 0, call, nothing(aggregators[0]));
    }

    function nothing(address account) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ICourt.NothingToWithdraw.selector, account);
    }

    function test_withdraw_to_one_who_refuses_keeps_the_credit() public {
        Payee payee = new Payee(court, modelId);
        vm.deal(address(payee), 1 ether);
        payee.deposit(1 ether);
        payee.release(1 ether);
        payee.refuse(true);
        vm.expectRevert(abi.encodeWithSelector(ICourt.PaymentRefused.selector, address(payee)));
        payee.withdraw(address(payee));
        same(court.credit(address(payee)), 1 ether, "kept");
        payee.refuse(false);
        payee.withdraw(address(payee));
        same(address(payee).balance, 1 ether, "paid");
    }

    function test_one_who_takes_no_money_has_its_credit_paid_elsewhere() public {
        Payee payee = new Payee(court, modelId);
        vm.deal(address(payee), 1 ether);
        payee.deposit(1 ether);
        payee.release(1 ether);
        payee.refuse(true);
        expectEvent(address(court));
        emit ICourt.Withdrawn(address(payee), STRANGER, 1 ether);
        uint256 before = STRANGER.balance;
        payee.withdraw(STRANGER);
        same(STRANGER.balance, before + 1 ether, "paid");
        same(court.credit(address(payee)), 0, "no credit left");
        same(court.credit(STRANGER), 0, "nobody else's credit is touched");
    }

    function test_withdraw_to_nobody_or_to_a_contract_that_takes_none_keeps_the_credit() public {
        releases(aggregators[0], BOND);
        address[3] memory payees = [address(0), address(court), address(cairn)];
        for (uint256 i = 0; i < 3; ++i) {
            bytes memory reason = abi.encodeWithSelector(ICourt.PaymentRefused.selector, payees[i]);
            refuses(aggregators[0], 0, abi.encodeCall(court.withdraw, (payees[i])), reason);
        }
        same(court.credit(aggregators[0]), BOND, "kept");
    }

    function test_nobody_withdraws_what_another_is_owed(address caller) public {
        vm.assume(caller != aggregators[0]);
        releases(aggregators[0], BOND);
        refuses(caller, 0, abi.encodeCall(court.withdraw, (caller)), nothing(caller));
        refuses(caller, 0, abi.encodeCall(court.withdraw, (aggregators[0])), nothing(caller));
    }
}
