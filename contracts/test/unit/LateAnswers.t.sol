// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId} from "../../interfaces/ICairn.sol";
import {Conviction, Demand, Demanded, Fault, ICourt, Part} from "../../interfaces/ICourt.sol";
import {IDisputed, Opening, Tree} from "../../interfaces/IDisputed.sol";
import {Bonded} from "../support/Bonded.sol";
import {World} from "../support/Disputes.sol";
import {Trees} from "../support/Trees.sol";

contract LateAnswersTest is Bonded {
    uint32 internal constant IN_TIME = 60;
    uint32 internal constant LATE = 40;
    uint256 internal constant MOST = 0.1 ether;
    uint256 internal constant SMALL = 0.3 ether;

    function setUp() public override {
        super.setUp();
        (answerDuration, lateDuration) = (IN_TIME, LATE);
        bondGwei = uint64(SMALL / 1 gwei);
    }

    /// @dev An honest result, attested by two with no more than the bond, and so many chunks of its aggregate demanded.
    function demanded(uint256 count, uint256 deposit) internal returns (World memory w) {
        w = honest(2500, 24);
        anchor(w);
        for (uint256 i = 0; i < 2; ++i) {
            vm.deal(aggregators[i], 10 ether);
            succeeds(aggregators[i], SMALL, abi.encodeCall(court.depositBond, (modelId)));
        }
        agreed(w);
        uint64[] memory indices = new uint64[](count);
        for (uint256 i = 0; i < count; ++i) {
            indices[i] = uint64(i);
        }
        succeeds(CHALLENGER, count * deposit, chunksCall(w, Tree.Aggregate, indices));
    }

    function chunk(World memory w, uint64 index) internal view returns (Demanded memory) {
        return demandedOf(w, w.result.aggregateRoot, false, index);
    }

    function late(World memory w, uint64 index) internal view returns (bytes memory) {
        return lateCall(chunk(w, index), Trees.open(w.aggregate, index), attesters());
    }

    function attesters() internal view returns (address[] memory) {
        return pair(aggregators[0], aggregators[1]);
    }

    function bondsAre(uint256 first, uint256 second) internal view {
        same(court.bond(modelId, aggregators[0]).amount, first, "of the first");
        same(court.bond(modelId, aggregators[1]).amount, second, "of the second");
    }

    function lateBurnt(World memory w) internal view returns (uint256) {
        return court.openDemands(roundId(current), tally(w)).lateBurnt;
    }

    // ------------------------------------------------------------------------------------------------------------ Time

    function test_showLate_counts_from_the_deadline_to_the_last_second_of_the_late_period() public {
        World memory w = demanded(3, 5);
        uint40 deadline = uint40(time()) + IN_TIME;
        same(court.demand(chunk(w, 0)).lateDeadline, deadline + LATE, "late deadline");
        forward(IN_TIME - 1);
        bytes memory notDue = abi.encodeWithSelector(ICourt.AnswerNotDue.selector, deadline);
        refuses(late(w, 0), notDue);
        forward(1);
        succeeds(STRANGER, late(w, 0));
        Opening memory o = Trees.open(w.aggregate, 1);
        refuses(showCall(chunk(w, 1), o), abi.encodeWithSelector(ICourt.TooLate.selector, time(), deadline));
        forward(LATE - 1);
        succeeds(STRANGER, late(w, 1));
        bytes memory close = closeCall(chunk(w, 2));
        refuses(close, abi.encodeWithSelector(ICourt.AnswerNotDue.selector, deadline + LATE));
        forward(1);
        refuses(late(w, 2), abi.encodeWithSelector(ICourt.TooLate.selector, time(), deadline + LATE));
        convicts(w, Fault.Unanswered, Part.Service, 0, close);
    }

    function test_without_a_late_period_no_answer_is_late() public {
        (bondGwei, lateDuration) = (0, 0);
        World memory w = demanded(1, 5);
        Demand memory made = court.demand(chunk(w, 0));
        same(made.lateDeadline, made.deadline, "one deadline");
        forward(IN_TIME);
        refuses(late(w, 0), abi.encodeWithSelector(ICourt.TooLate.selector, time(), made.deadline));
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(chunk(w, 0)));
    }

    function test_late_demands_fit_before_the_end_of_the_window_with_as_long_again_to_close_them() public {
        World memory w = demanded(1, 0); // moves the window, so that nothing moves it later
        uint40 end = cairn.round(modelId, current).challengeDeadline;
        vm.warp(end - 2 * IN_TIME - LATE);
        succeeds(CHALLENGER, listCall(w, 1));
        forward(1);
        refuses(listCall(w, 2), abi.encodeWithSelector(ICourt.TooLate.selector, time(), end));
        vm.warp(end - 1);
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(demandedOf(w, w.result.contributionsRoot, true, 1)));
    }

    function test_revealing_that_a_demand_went_unanswered_waits_for_the_late_deadline() public {
        World memory w = demanded(1, 5);
        vm.deal(STRANGER, 1 ether);
        forward(LATE);
        succeeds(STRANGER, listCall(w, 0)); // its answer time is over before the first one's late deadline
        bytes32 held = tally(w);
        Demanded memory own = demandedOf(w, w.result.contributionsRoot, true, 0);
        claim = claimOf(w, Part.Service, 0);
        sealed_(STRANGER, "salt");
        forward(IN_TIME);
        same(court.demand(own).deadline, time(), "too late to answer in time");
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(chunk(w, 0)));
        bytes memory reveal = abi.encodeCall(court.revealClaim, (roundId(current), held, "salt", own));
        forward(LATE - 1);
        refuses(reveal, notDemanded(own));
        forward(1);
        succeeds(STRANGER, reveal);
        Conviction memory made = court.conviction(roundId(current), held);
        same(made.leader, STRANGER, "leads");
    }

    // --------------------------------------------------------------------------------------------------- What it takes

    function test_showLate_reverts_on_what_was_not_demanded_or_is_answered() public {
        World memory w = demanded(2, 5);
        succeeds(STRANGER, showCall(chunk(w, 1), Trees.open(w.aggregate, 1)));
        forward(IN_TIME);
        refuses(late(w, 2), notDemanded(chunk(w, 2)));
        bytes memory closed = abi.encodeWithSelector(ICourt.DemandIsClosed.selector, w.result.aggregateRoot, 1);
        refuses(late(w, 1), closed);
        succeeds(STRANGER, late(w, 0));
        refuses(late(w, 0), abi.encodeWithSelector(ICourt.DemandIsClosed.selector, w.result.aggregateRoot, 0));
    }

    function test_showLate_reverts_on_what_does_not_answer() public {
        World memory w = demanded(2, 5);
        forward(IN_TIME);
        Demanded memory d = chunk(w, 1);
        refuses(lateCall(d, Trees.open(w.version, 1), attesters()), badCount(d.root));
        refuses(lateCall(d, Trees.open(w.aggregate, 0), attesters()), badProof(d.root, 1));
        Opening memory o = Trees.open(w.aggregate, 1);
        o.leaf = "";
        refuses(
            lateCall(d, o, attesters()), abi.encodeWithSelector(IDisputed.BadLength.selector, uint256(0), 1024)
        );
    }

    function test_showLate_takes_all_attesters_each_once() public {
        World memory w = demanded(1, 5);
        forward(IN_TIME);
        (address a, address b, address c) = (aggregators[0], aggregators[1], aggregators[2]);
        address[] memory some = new address[](1);
        some[0] = a;
        names(w, some, abi.encodeWithSelector(ICourt.WrongAttesterCount.selector, 1, 2));
        names(w, new address[](0), abi.encodeWithSelector(ICourt.WrongAttesterCount.selector, 0, 2));
        some = new address[](3);
        (some[0], some[1], some[2]) = (a, b, c);
        names(w, some, abi.encodeWithSelector(ICourt.WrongAttesterCount.selector, 3, 2));
        names(w, pair(b, a), abi.encodeWithSelector(ICourt.NotAttester.selector, a));
        names(w, pair(a, a), abi.encodeWithSelector(ICourt.NotAttester.selector, a));
        names(w, pair(a, c), abi.encodeWithSelector(ICourt.NotAttester.selector, c));
        names(w, pair(address(0), a), abi.encodeWithSelector(ICourt.NotAttester.selector, address(0)));
        bondsAre(SMALL, SMALL);
        succeeds(STRANGER, late(w, 0));
    }

    function names(World memory w, address[] memory some, bytes memory reason) private {
        refuses(lateCall(chunk(w, 0), Trees.open(w.aggregate, 0), some), reason);
    }

    function test_a_void_result_is_not_answered_late_and_the_deposit_goes_back() public {
        World memory w = demanded(1, 5);
        forward(LATE);
        succeeds(CHALLENGER, 7, chunkCall(w, Tree.Version, 0));
        bytes memory call =
            lateCall(demandedOf(w, w.result.roots.tensor, false, 0), Trees.open(w.version, 0), attesters());
        Demanded memory second = demandedOf(w, w.result.roots.tensor, false, 0);
        forward(IN_TIME);
        bytes32 held = tally(w);
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(chunk(w, 0)));
        refuses(call, abi.encodeWithSelector(IDisputed.NotDisputed.selector, modelId, current, held));
        forward(LATE);
        succeeds(STRANGER, closeCall(second));
        same(court.credit(CHALLENGER), 12, "both back");
        bondsAre(SMALL, SMALL);
    }

    // ----------------------------------------------------------------------------------------------------- What it burns

    function test_showLate_pays_the_deposit_burns_twice_as_much_in_equal_shares_and_tells() public {
        World memory w = demanded(1, MOST);
        Demanded memory d = chunk(w, 0);
        Opening memory o = Trees.open(w.aggregate, 0);
        bytes memory call = late(w, 0);
        forward(IN_TIME);
        for (uint256 i = 0; i < 2; ++i) {
            expectEvent(address(court));
            emit ICourt.BondSlashed(modelId, aggregators[i], roundId(current), MOST);
        }
        expectEvent(address(court));
        emit ICourt.LeafShown(
            d.roundId, d.tally, STRANGER, d.root, d.entryBytes, d.entries, d.index, o.counted, o.leaf, o.proof
        );
        succeeds(STRANGER, call);
        same(court.credit(STRANGER), MOST, "the deposit");
        same(court.burnt(), 2 * MOST, "twice as much");
        same(lateBurnt(w), 2 * MOST, "of this result");
        same(court.openDemands(d.roundId, d.tally).count, 0, "none is open");
        same(court.reward(d.roundId, d.tally), 0, "nobody is rewarded");
        bondsAre(SMALL - MOST, SMALL - MOST);
        Demand memory made = court.demand(d);
        check(made.closed && made.answered, "answered");
        refuses(closeCall(d), abi.encodeWithSelector(ICourt.DemandIsClosed.selector, d.root, d.index));
    }

    function test_late_answers_burn_half_of_the_bonds_at_most_and_are_taken_beyond_it() public {
        World memory w = demanded(3, MOST);
        succeeds(aggregators[0], 5 ether, abi.encodeCall(court.depositBond, (modelId))); // is not at stake
        forward(IN_TIME);
        uint256[3] memory each = [MOST, SMALL / 2, SMALL / 2];
        for (uint64 i = 0; i < 3; ++i) {
            succeeds(STRANGER, late(w, i));
            bondsAre(5 ether + SMALL - each[i], SMALL - each[i]);
            same(lateBurnt(w), 2 * each[i], "of this result");
            same(court.burnt(), 2 * each[i], "in all");
        }
        same(court.credit(STRANGER), 3 * MOST, "each earned its deposit");
    }

    function test_expelling_after_late_answers_leaves_the_whole_reward_and_burns_the_rest() public {
        World memory w = demanded(4, MOST);
        Demanded memory last = chunk(w, 3);
        bytes32 held = tally(w);
        forward(IN_TIME);
        for (uint64 i = 0; i < 3; ++i) {
            succeeds(aggregators[0], late(w, i));
        }
        forward(LATE);
        succeeds(CHALLENGER, closeCall(last));
        address[] memory one = new address[](1);
        one[0] = aggregators[1];
        expectEvent(address(court));
        emit ICourt.BondSlashed(modelId, aggregators[1], roundId(current), SMALL / 2);
        cairn.expel(modelId, current, one);
        same(court.reward(roundId(current), held), SMALL / 2, "half of one bond, all that was left of it");
        same(court.burnt(), SMALL, "by the late answers");
        one[0] = aggregators[0];
        cairn.expel(modelId, current, one);
        same(court.burnt(), SMALL + SMALL / 2, "what was left of the other");
        bondsAre(0, 0);
    }

    function test_a_late_answer_in_the_next_round_counts_from_nothing() public {
        World memory w = demanded(2, MOST);
        forward(IN_TIME);
        for (uint64 i = 0; i < 2; ++i) {
            succeeds(STRANGER, late(w, i));
        }
        vm.warp(cairn.round(modelId, current).challengeDeadline);
        cairn.finalizeRound(modelId, current, w.result);
        w.parent = w.version;
        w.roots = w.result.roots;
        begin(w);
        w.result.versionDigest = "next";
        bytes32 running = runningHash(current);
        vm.expectRevert(
            abi.encodeWithSelector(ICourt.BondTooSmall.selector, modelId, aggregators[0], SMALL / 2, SMALL)
        );
        vm.prank(aggregators[0]);
        cairn.attestResult(modelId, current, w.result, running);
        for (uint256 i = 0; i < 2; ++i) {
            succeeds(aggregators[i], SMALL / 2, abi.encodeCall(court.depositBond, (modelId)));
        }
        agreed(w);
        succeeds(CHALLENGER, MOST, chunkCall(w, Tree.Aggregate, 0));
        forward(IN_TIME);
        succeeds(STRANGER, late(w, 0));
        same(lateBurnt(w), 2 * MOST, "of the new result");
        bondsAre(SMALL - MOST, SMALL - MOST);
    }
}
