// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RoundId} from "../../interfaces/ICairn.sol";
import {Conviction, Demanded, Fault, Finding, ICourt, Part} from "../../interfaces/ICourt.sol";
import {Tree} from "../../interfaces/IDisputed.sol";
import {Bonded} from "../support/Bonded.sol";
import {World} from "../support/Disputes.sol";

contract ClaimsTest is Bonded {
    function none() internal pure returns (Demanded memory d) {}

    function revealCall(bytes32 salt, Demanded memory d) internal view returns (bytes memory) {
        return abi.encodeCall(court.revealClaim, (roundId(current), lie, salt, d));
    }

    function notSealed(address challenger, bytes32 salt) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICourt.NotSealed.selector, sealOf(challenger, salt, claim));
    }

    function notConvicted(RoundId id, bytes32 tally) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ICourt.NotConvicted.selector, id, tally);
    }

    function leads(address challenger, uint64 order) internal view {
        Conviction memory made = court.conviction(roundId(current), lie);
        same(made.leader, challenger, "leader");
        same(made.leaderOrder, order, "order");
    }

    // --------------------------------------------------------------------------------------------------------- convict

    function test_only_its_challenges_convict(address caller) public {
        vm.assume(caller != address(challenges));
        attest(aggregators[0], current, told().result);
        attest(aggregators[1], current, told().result);
        Finding memory f =
            Finding(modelId, current, roundId(current), lie, CHALLENGE, caller, Fault.Roots, Part.Whole, 0);
        vm.prank(caller);
        (bool done, bytes memory answer) = address(court).call(abi.encodeCall(court.convict, (f)));
        check(!done, "refused");
        bytes memory reason = abi.encodeWithSelector(ICourt.NotChallenges.selector, caller);
        same(keccak256(answer), keccak256(reason), "for the reason expected");
        same(cairn.dispute(modelId, current).tally, lie, "in its window still");
    }

    // ------------------------------------------------------------------------------------------------------- sealClaim

    function test_sealClaim_numbers_seals_in_order_once() public {
        bytes32[3] memory all = [bytes32("one"), "two", "one"];
        for (uint64 i = 0; i < 2; ++i) {
            expectEvent(address(court));
            emit ICourt.ClaimSealed(all[i], i + 1);
            court.sealClaim(all[i]);
        }
        vm.recordLogs();
        court.sealClaim("one");
        same(vm.getRecordedLogs().length, 0, "no event");
        same(court.seals("one"), 1, "first");
        same(court.seals("two"), 2, "second");
        same(court.seals("three"), 0, "unknown");
    }

    // ----------------------------------------------------------------------------------------------------- revealClaim

    function test_revealClaim_reverts_where_nothing_is_convicted() public {
        World memory w = honest(5, 24);
        bonded(w);
        bytes32 tally = tally(w);
        refuses(
            abi.encodeCall(court.revealClaim, (roundId(current), tally, "salt", none())),
            notConvicted(roundId(current), tally)
        );
    }

    function test_revealClaim_reverts_once_it_is_over() public {
        sealed_(CHALLENGER, "salt");
        lied();
        uint40 deadline = uint40(time()) + CHALLENGE;
        vm.warp(deadline);
        refuses(
            CHALLENGER,
            0,
            revealCall("salt", none()),
            abi.encodeWithSelector(ICourt.RevealIsOver.selector, deadline)
        );
        vm.warp(deadline - 1);
        succeeds(CHALLENGER, revealCall("salt", none()));
    }

    function test_revealClaim_reverts_on_what_was_not_sealed_so() public {
        sealed_(CHALLENGER, "salt");
        court.sealClaim(keccak256(abi.encode(CHALLENGER, bytes32("other"), ~claim)));
        lied();
        refuses(CHALLENGER, 0, revealCall("another", none()), notSealed(CHALLENGER, "another"));
        refuses(STRANGER, 0, revealCall("salt", none()), notSealed(STRANGER, "salt"));
        refuses(CHALLENGER, 0, revealCall("other", none()), notSealed(CHALLENGER, "other"));
        sealed_(STRANGER, "late");
        refuses(STRANGER, 0, revealCall("late", none()), notSealed(STRANGER, "late"));
    }

    function test_revealClaim_gives_the_lead_to_the_earliest_seal() public {
        sealed_(STRANGER, "first");
        sealed_(CHALLENGER, "second");
        sealed_(OWNER, "third");
        lied();
        address[3] memory who = [CHALLENGER, OWNER, STRANGER];
        bytes32[3] memory salts = [bytes32("second"), "third", "first"];
        address[3] memory leader = [CHALLENGER, CHALLENGER, STRANGER];
        uint64[3] memory orders = [uint64(2), 3, 1];
        for (uint256 i = 0; i < 3; ++i) {
            bytes memory call = revealCall(salts[i], none());
            expectEvent(address(court));
            emit ICourt.ClaimRevealed(roundId(current), lie, who[i], orders[i]);
            succeeds(who[i], call);
            leads(leader[i], leader[i] == STRANGER ? 1 : 2);
        }
        // Revealing again changes nothing.
        succeeds(CHALLENGER, revealCall("second", none()));
        leads(STRANGER, 1);
    }

    function test_the_order_of_the_conviction_follows_the_seals_before_it() public {
        sealed_(CHALLENGER, "salt");
        lied();
        Conviction memory made = court.conviction(roundId(current), lie);
        same(made.order, 2, "after the first seal");
        same(made.revealDeadline, time() + CHALLENGE, "reveal deadline");
        same(uint256(made.fault), uint256(Fault.Roots), "fault");
        same(made.leader, address(0), "nobody yet");
    }

    function test_revealClaim_of_what_went_unanswered_takes_a_demand_of_ones_own() public {
        World memory w = honest(5, 24);
        bonded(w);
        (lie, claim) = (tally(w), claimOf(w, Part.Service, 0));
        sealed_(CHALLENGER, "salt");
        sealed_(STRANGER, "salt");
        succeeds(STRANGER, chunkCall(w, Tree.Version, 1));
        forward(1);
        Demanded memory d = unanswered(w);
        Demanded memory strangers = demandedOf(w, w.result.roots.tensor, false, 1);
        // It keeps the tally it had.
        (d.tally, strangers.tally) = (lie, lie);

        refuses(STRANGER, 0, revealCall("salt", d), notDemanded(d));
        refuses(CHALLENGER, 0, revealCall("salt", strangers), notDemanded(strangers));
        refuses(CHALLENGER, 0, revealCall("salt", none()), notDemanded(none()));
        succeeds(CHALLENGER, revealCall("salt", d));
        leads(CHALLENGER, 1);
        succeeds(STRANGER, revealCall("salt", strangers));
        leads(CHALLENGER, 1);
    }

    function test_revealClaim_does_not_take_a_demand_that_was_or_may_still_be_answered() public {
        World memory w = honest(5, 24);
        bonded(w);
        (lie, claim) = (tally(w), claimOf(w, Part.Service, 0));
        sealed_(STRANGER, "salt");
        succeeds(STRANGER, chunkCall(w, Tree.Aggregate, 0));
        Demanded memory answered = demandedOf(w, w.result.aggregateRoot, false, 0);
        succeeds(OWNER, showCall(answered, opened(w)));
        succeeds(CHALLENGER, chunkCall(w, Tree.Version, 0));
        Demanded memory given = demandedOf(w, w.result.roots.tensor, false, 0);
        forward(ANSWER - 1);
        succeeds(STRANGER, chunkCall(w, Tree.Parent, 0));
        Demanded memory due = demandedOf(w, rootIn(w, Tree.Parent), false, 0);
        forward(1);
        succeeds(CHALLENGER, closeCall(given));

        refuses(STRANGER, 0, revealCall("salt", answered), notDemanded(answered));
        refuses(STRANGER, 0, revealCall("salt", due), notDemanded(due));
        forward(ANSWER - 2);
        refuses(STRANGER, 0, revealCall("salt", due), notDemanded(due));
        forward(1);
        succeeds(STRANGER, revealCall("salt", due));
    }

    function test_revealClaim_does_not_take_an_unanswered_demand_of_another_result() public {
        World memory w = honest(5, 24);
        bonded(w);
        sealed_(CHALLENGER, "salt");
        Demanded memory d = unanswered(w);
        d.tally = hashOf(w.result);
        expelTwo();
        deposits(2);
        agreedByNew(w);
        (lie, claim) = (tally(w), claimOf(w, Part.Service, 0));
        sealed_(CHALLENGER, "salt");
        Demanded memory second = unanswered(w);
        second.tally = lie;
        refuses(CHALLENGER, 0, revealCall("salt", d), notDemanded(d));
        Demanded memory elsewhere = second;
        succeeds(CHALLENGER, revealCall("salt", second));
        elsewhere.roundId = RoundId.wrap("another");
        refuses(CHALLENGER, 0, revealCall("salt", elsewhere), notDemanded(elsewhere));
    }

    // --------------------------------------------------------------------------------------------------- collectReward

    function test_collectReward_reverts_where_nothing_is_convicted() public {
        World memory w = honest(5, 24);
        bonded(w);
        bytes32 tally = tally(w);
        refuses(
            abi.encodeCall(court.collectReward, (roundId(current), tally)), notConvicted(roundId(current), tally)
        );
    }

    function test_collectReward_waits_for_the_reveals_and_credits_the_leader() public {
        sealed_(CHALLENGER, "salt");
        lied();
        expelTwo();
        succeeds(CHALLENGER, revealCall("salt", none()));
        uint40 deadline = court.conviction(roundId(current), lie).revealDeadline;
        bytes memory call = abi.encodeCall(court.collectReward, (roundId(current), lie));
        vm.warp(deadline - 1);
        refuses(call, abi.encodeWithSelector(ICourt.RevealNotOver.selector, deadline));
        forward(1);
        same(court.reward(roundId(current), lie), BOND / 2, "half of one bond");
        expectEvent(address(court));
        emit ICourt.RewardCollected(roundId(current), lie, CHALLENGER, BOND / 2);
        succeeds(STRANGER, call);
        same(court.credit(CHALLENGER), BOND / 2, "credit");
        same(court.reward(roundId(current), lie), 0, "collected");
        same(court.burnt(), BOND + BOND / 2, "the rest of two");
        succeeds(STRANGER, call);
        same(court.credit(CHALLENGER), BOND / 2, "once");
    }

    function test_collectReward_collects_once_when_the_first_bond_is_taken() public {
        sealed_(CHALLENGER, "salt");
        lied();
        succeeds(CHALLENGER, revealCall("salt", none()));
        forward(CHALLENGE);
        court.collectReward(roundId(current), lie);
        same(court.credit(CHALLENGER), 0, "nothing is taken yet");
        for (uint256 i = 0; i < 2; ++i) {
            address[] memory one = new address[](1);
            one[0] = aggregators[i];
            cairn.expel(modelId, current, one);
            court.collectReward(roundId(current), lie);
            same(court.credit(CHALLENGER), BOND / 2, "half of one");
        }
        same(court.burnt(), BOND + BOND / 2, "the rest of two");
    }

    function test_collectReward_burns_what_nobody_revealed() public {
        lied();
        expelTwo();
        forward(CHALLENGE);
        bytes memory call = abi.encodeCall(court.collectReward, (roundId(current), lie));
        expectEvent(address(court));
        emit ICourt.RewardCollected(roundId(current), lie, address(0), BOND / 2);
        succeeds(STRANGER, call);
        same(court.burnt(), 2 * BOND, "all");
    }

    function test_unknown_convictions_read_as_zeros() public view {
        RoundId id = RoundId.wrap("unknown");
        same(keccak256(abi.encode(court.conviction(id, "tally"))), keccak256(new bytes(6 * 32)), "conviction");
        same(court.reward(id, "tally"), 0, "reward");
    }
}
