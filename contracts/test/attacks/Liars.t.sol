// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId} from "../../interfaces/ICairn.sol";
import {Commitment} from "../../interfaces/IChallenges.sol";
import {Demanded, Fault, ICourt, Part} from "../../interfaces/ICourt.sol";
import {Contribution, Counted, IDisputed, Opening, Target, Tree} from "../../interfaces/IDisputed.sol";
import {Payee} from "../mocks/Payee.sol";
import {Bonded} from "../support/Bonded.sol";
import {World} from "../support/Disputes.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Whoever lies, or copies who found the lie, gains nothing by it.
contract LiarsTest is Bonded {
    address internal constant COPIER = address(0xC0B1);

    function none() internal pure returns (Demanded memory d) {}

    function reveal(address challenger, bytes32 salt, Demanded memory d) internal {
        succeeds(challenger, abi.encodeCall(court.revealClaim, (roundId(current), lie, salt, d)));
    }

    function collect() internal {
        vm.warp(court.conviction(roundId(current), lie).revealDeadline);
        court.collectReward(roundId(current), lie);
    }

    // ---------------------------------------------------------------------------------------------------- Who knew first

    function test_a_copier_of_a_challenge_collects_nothing() public {
        sealed_(CHALLENGER, "salt");
        // It sees the challenge on its way, seals it for itself, and is faster with everything from there on.
        World memory w = told();
        agreed(w);
        sealed_(COPIER, "salt");
        succeeds(COPIER, abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w))));
        whoSealedFirstIsPaid();
    }

    function test_a_copier_of_a_demand_collects_nothing_where_the_leaf_was_sealed_before() public {
        World memory w = honest(3, 24);
        Trees.setValue(w.version, 1, 0x3f800000);
        bonded(w);
        (lie, claim) = (tally(w), claimOf(w, Part.Values, 0));
        sealed_(CHALLENGER, "salt");
        succeeds(CHALLENGER, chunkCall(w, Tree.Version, 0));
        sealed_(COPIER, "salt"); // what is demanded is likely to be wrong
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        succeeds(aggregators[0], showCall(d, Trees.open(w.version, 0)));
        Opening memory version = Trees.open(w.version, 0);
        succeeds(
            COPIER, abi.encodeCall(challenges.convictVersion, (targetOf(w), basisOf(w), beforeAt(w, 1), version))
        );
        whoSealedFirstIsPaid();
    }

    function whoSealedFirstIsPaid() private {
        expelTwo();
        reveal(COPIER, "salt", none());
        reveal(CHALLENGER, "salt", none());
        collect();
        same(court.credit(COPIER), 0, "nothing");
        same(court.credit(CHALLENGER), BOND / 2, "who knew first");
    }

    function test_a_copied_seal_serves_its_author_alone() public {
        bytes32 seal = sealOf(CHALLENGER, "salt", claim);
        vm.prank(COPIER);
        court.sealClaim(seal);
        lied();
        bytes memory call = abi.encodeCall(court.revealClaim, (roundId(current), lie, "salt", none()));
        bytes memory reason = abi.encodeWithSelector(ICourt.NotSealed.selector, sealOf(COPIER, "salt", claim));
        refuses(COPIER, 0, call, reason);
        succeeds(CHALLENGER, call);
    }

    function test_a_seal_made_after_the_conviction_is_worth_nothing() public {
        lied();
        sealed_(COPIER, "salt");
        refuses(
            COPIER,
            0,
            abi.encodeCall(court.revealClaim, (roundId(current), lie, "salt", none())),
            abi.encodeWithSelector(ICourt.NotSealed.selector, sealOf(COPIER, "salt", claim))
        );
    }

    function test_a_liar_who_convicts_himself_loses_half_at_least() public {
        sealed_(aggregators[0], "salt"); // he knew before anyone
        World memory w = told();
        agreed(w);
        succeeds(aggregators[0], abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w))));
        reveal(aggregators[0], "salt", none());
        expelTwo();
        collect();
        same(court.burnt(), BOND + BOND / 2, "all but half of one bond");
        same(court.credit(aggregators[0]), BOND / 2, "half of his own, whoever else attested");
        same(court.bond(modelId, aggregators[0]).amount, 0, "of what he had put in");
        same(cairn.member(modelId, aggregators[0]).roles, 0, "and no role");
    }

    function test_a_liar_cannot_take_his_bond_away_first() public {
        lied();
        bytes memory reason =
            abi.encodeWithSelector(ICourt.BondIsLocked.selector, modelId, aggregators[0], current);
        bytes memory call = abi.encodeCall(court.releaseBond, (modelId, 1));
        refuses(aggregators[0], 0, call, reason);
        forward(AGGREGATE); // the round lapses
        refuses(aggregators[0], 0, call, reason);
        vm.prank(STRANGER);
        cairn.cancelRound(modelId, current);
        refuses(aggregators[0], 0, call, reason);
        expelTwo();
        refuses(
            aggregators[0],
            0,
            call,
            abi.encodeWithSelector(ICourt.BondTooSmall.selector, modelId, aggregators[0], uint256(0), 1)
        );
    }

    // ----------------------------------------------------------------------------------------- Dodging what was demanded

    function test_a_liar_cannot_close_a_demand_beside_another_window() public {
        World memory w = honest(3, 24);
        bonded(w);
        succeeds(CHALLENGER, 5, chunkCall(w, Tree.Version, 0));
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        forward(ANSWER);
        // Were it closed here, it could be closed nowhere else, and the leaf not be demanded again.
        bytes memory elsewhere = abi.encodeCall(court.closeDemand, (cairn.modelIdOf(OWNER, GENESIS), current, d));
        refuses(aggregators[0], 0, elsewhere, notDemanded(d));
        elsewhere = abi.encodeCall(court.closeDemand, (modelId, 0, d));
        refuses(aggregators[0], 0, elsewhere, notDemanded(d));
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(d));
    }

    function test_a_liar_cannot_forestall_a_demand_by_one_of_his_own() public {
        World memory w = honest(3, 24);
        bonded(w);
        vm.deal(aggregators[0], 1 ether);
        succeeds(aggregators[0], 1 ether / 10, chunkCall(w, Tree.Version, 0));
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        // His own demand is as good as anybody's: it is answered with what was asked, or makes the result void.
        forward(ANSWER);
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(d));
    }

    function test_a_liar_who_answers_itself_late_cannot_burn_its_challengers_reward() public {
        (answerDuration, lateDuration) = (60, 40);
        World memory w = honest(5000, 24);
        Trees.setValue(w.version, 1, 0x3f800000);
        bonded(w);
        (lie, claim) = (tally(w), claimOf(w, Part.Values, 0));
        sealed_(CHALLENGER, "salt");
        // Sixteen answers of the largest deposit would burn more than both bonds' halves.
        uint64[] memory indices = new uint64[](16);
        for (uint64 i = 0; i < 16; ++i) {
            indices[i] = i;
        }
        succeeds(aggregators[0], 1.6 ether, chunksCall(w, Tree.Aggregate, indices));
        forward(60);
        for (uint64 i = 0; i < 16; ++i) {
            Demanded memory d = demandedOf(w, w.result.aggregateRoot, false, i);
            succeeds(
                aggregators[1], lateCall(d, Trees.open(w.aggregate, i), pair(aggregators[0], aggregators[1]))
            );
        }
        same(court.bond(modelId, aggregators[0]).amount, BOND / 2, "half stays");
        Opening memory version = Trees.open(w.version, 0);
        succeeds(
            COPIER, abi.encodeCall(challenges.convictVersion, (targetOf(w), basisOf(w), beforeAt(w, 1), version))
        );
        expelTwo();
        reveal(CHALLENGER, "salt", none());
        collect();
        same(court.credit(CHALLENGER), BOND / 2, "the whole reward");
        same(court.burnt(), BOND + BOND / 2, "all else of both bonds");
    }

    function test_a_liar_cannot_answer_late_at_the_cost_of_anothers_bonds() public {
        (answerDuration, lateDuration) = (60, 40);
        World memory w = honest(3, 24);
        bonded(w);
        succeeds(CHALLENGER, 0.1 ether, chunkCall(w, Tree.Version, 0));
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        // Another model, in which others attest the same result: it has the same tally.
        (ModelId first, uint64 number) = (modelId, current);
        forward(60);
        vm.warp(time() - COMMIT - PUBLISH);
        bonded(w);
        check(tally(w) == d.tally, "the same tally");
        address[] memory others = pair(aggregators[0], aggregators[1]);
        bytes memory reason = abi.encodeWithSelector(IDisputed.NotDisputed.selector, modelId, current, d.tally);
        refuses(aggregators[0], 0, lateCall(d, Trees.open(w.version, 0), others), reason);
        (modelId, current) = (first, number);
        succeeds(STRANGER, lateCall(d, Trees.open(w.version, 0), others));
    }

    function test_nobody_keeps_others_from_demanding_by_being_faster_with_one() public {
        World memory w = honest(600, 24);
        bonded(w);
        uint64[] memory indices = new uint64[](3);
        (indices[1], indices[2]) = (1, 2);
        bytes memory call = chunksCall(w, Tree.Version, indices);
        vm.deal(aggregators[0], 1 ether);
        succeeds(aggregators[0], 5, chunkCall(w, Tree.Version, 1)); // it saw the list on its way
        succeeds(CHALLENGER, 15, call);
        for (uint64 i = 0; i < 3; ++i) {
            Demanded memory d = demandedOf(w, w.result.roots.tensor, false, i);
            same(court.demand(d).demander, i == 1 ? aggregators[0] : CHALLENGER, "demanded");
        }
        same(court.credit(CHALLENGER), 5, "what the second would have taken");
    }

    function test_a_liar_cannot_answer_with_what_was_not_attested() public {
        World memory w = honest(3, 24);
        World memory sound = honest(3, 24);
        Trees.setValue(w.version, 1, 0x3f800000);
        bonded(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Version, 0));
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        Opening memory o = Trees.open(sound.version, 0);
        refuses(showCall(d, o), abi.encodeWithSelector(IDisputed.BadCount.selector, d.root));
        o.counted = Trees.countedOf(w.version);
        refuses(showCall(d, o), badProof(d.root, 0));
        succeeds(STRANGER, showCall(d, Trees.open(w.version, 0)));
    }

    function test_a_root_of_nothing_goes_unanswered() public {
        // Nobody knows a count and an inner root that hash to it, so not even the end can be shown.
        World memory w = honest(3, 24);
        anchor(w);
        deposits(2);
        w.result.aggregateRoot = "of nothing";
        agreed(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, NONE));
        Demanded memory d = demandedOf(w, w.result.aggregateRoot, false, NONE);
        Opening memory o = Opening(Counted(0, 0), "", new bytes32[](0));
        refuses(showCall(d, o), abi.encodeWithSelector(IDisputed.BadCount.selector, d.root));
        forward(ANSWER);
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(d));
    }

    function test_an_aggregate_without_values_is_convicted_by_its_size() public {
        World memory w = honest(3, 24);
        anchor(w);
        deposits(2);
        Counted memory empty = Counted(0, sha256(""));
        w.result.aggregateRoot = Trees.hashOf(empty);
        agreed(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, 0));
        Demanded memory d = demandedOf(w, w.result.aggregateRoot, false, 0);
        succeeds(aggregators[0], showCall(d, Opening(empty, "", new bytes32[](0))));
        bytes memory call =
            abi.encodeCall(challenges.convictSize, (targetOf(w), basisOf(w), Tree.Aggregate, empty, nobody()));
        convicts(w, Fault.Size, Part.Whole, 0, call);
    }

    function test_a_list_with_a_stranger_among_real_contributions_is_convicted() public {
        World memory w = honest(3, 24);
        anchor(w);
        deposits(2);
        Commitment[] memory log = commitmentsOf(w.list, 0, 3);
        // In the place of somebody whom it leaves out: a list longer than the commitments is not even attested.
        w.list[2] = Contribution(address(type(uint160).max), "digest", w.list[0].tensorRoot, 1, 1, 1);
        settle(w);
        agreed(w);
        Opening memory o = Trees.open(Trees.listOf(w.list), 2);
        bytes memory call = abi.encodeCall(challenges.convictUncommitted, (targetOf(w), 2, o, bytes32(0), log));
        convicts(w, Fault.Uncommitted, Part.Whole, 0, call);
    }

    function test_a_list_that_is_longer_than_it_says_is_convicted() public {
        // The third contribution is in the root, so that its participant gets a receipt, but not in the count.
        World memory w = honest(3, 24);
        anchor(w);
        deposits(2);
        (w.result.contributions, w.result.totalWeight, w.result.divisor) = (2, 17, 17);
        agreed(w);
        Leaves memory list = Trees.listOf(w.list);
        bytes memory call = abi.encodeCall(challenges.convictCount, (targetOf(w), Trees.countedOf(list)));
        convicts(w, Fault.Count, Part.Whole, 0, call);
    }

    function test_liars_who_void_themselves_over_and_over_run_out_of_roles() public {
        World memory w = honest(3, 24);
        bonded(w);
        unanswered(w);
        bytes32 running = runningHash(current);
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(missingRole(aggregators[i], A));
            vm.prank(aggregators[i]);
            cairn.attestResult(modelId, current, w.result, running);
        }
        expelTwo();
        forward(AGGREGATE);
        vm.prank(OWNER);
        same(cairn.openRound(modelId), current + 1, "the model goes on");
    }

    function test_no_round_opens_before_the_liars_are_expelled_and_anyone_expels_them() public {
        lied();
        forward(AGGREGATE);
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotExpelled.selector, roundId(current), 2));
        vm.prank(OWNER);
        cairn.openRound(modelId);
        vm.startPrank(STRANGER);
        expelTwo();
        vm.stopPrank();
        vm.prank(OWNER);
        cairn.openRound(modelId);
    }

    // ----------------------------------------------------------------------------------------------------- Being paid

    function test_a_payee_who_calls_back_is_paid_once() public {
        Payee payee = new Payee(court, modelId);
        vm.deal(address(payee), 2 ether);
        payee.deposit(2 ether);
        bytes[3] memory callbacks = [
            abi.encodeCall(court.withdraw, (address(payee))),
            abi.encodeCall(court.releaseBond, (modelId, 2 ether)),
            abi.encodeCall(court.lockBond, (modelId, current, address(payee), 0))
        ];
        bytes[3] memory reasons = [
            abi.encodeWithSelector(ICourt.NothingToWithdraw.selector, address(payee)),
            abi.encodeWithSelector(ICourt.BondTooSmall.selector, modelId, address(payee), 1 ether, 2 ether),
            abi.encodeWithSelector(ICourt.NotCairn.selector, address(payee))
        ];
        for (uint256 i = 0; i < 3; ++i) {
            payee.release(0.5 ether);
            payee.arm(callbacks[i]);
            payee.withdraw(address(payee));
            check(!payee.succeeded(), "the call back failed");
            same(keccak256(payee.answer()), keccak256(reasons[i]), "for the reason expected");
        }
        same(address(payee).balance, 1.5 ether, "what was released, once");
        same(court.bond(modelId, address(payee)).amount, 0.5 ether, "the rest is still there");
    }

    function test_a_payee_who_is_sent_anothers_credit_takes_that_and_its_own() public {
        Payee[3] memory owed = [new Payee(court, modelId), new Payee(court, modelId), new Payee(court, modelId)];
        for (uint256 i = 0; i < 3; ++i) {
            vm.deal(address(owed[i]), 1 ether);
            owed[i].deposit(1 ether);
            owed[i].release(1 ether);
        }
        uint256 before = address(court).balance;
        owed[1].arm(abi.encodeCall(court.withdraw, (address(owed[1]))));
        owed[0].withdraw(address(owed[1]));
        check(owed[1].succeeded(), "it called back for its own");
        same(address(owed[1]).balance, 2 ether, "each once");
        same(address(court).balance, before - 2 ether, "and nothing else");
        same(court.credit(address(owed[0])) + court.credit(address(owed[1])), 0, "both paid out");
        same(court.credit(address(owed[2])), 1 ether, "the third is still owed");
    }
}
