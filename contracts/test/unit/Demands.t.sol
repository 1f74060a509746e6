// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Plan, RoundId} from "../../interfaces/ICairn.sol";
import {Shape} from "../../interfaces/IRules.sol";
import {Demand, Demanded, Fault, ICourt, Part, Shown} from "../../interfaces/ICourt.sol";
import {Counted, IDisputed, Membership, Opening, Target, Tree} from "../../interfaces/IDisputed.sol";
import {RuleBook} from "../support/RuleBook.sol";
import {Demanding} from "../support/Demanding.sol";
import {World} from "../support/Disputes.sol";
import {Leaves, Trees} from "../support/Trees.sol";

contract DemandsTest is Demanding {
    uint16 internal combineRule = 1;

    function planOf(World memory w) internal view override returns (Plan memory) {
        w.book.combineRule = combineRule;
        w.book.shape = combineRule == 1 ? Shape.Fold : Shape.Select;
        return super.planOf(w);
    }

    function alreadyDemanded(bytes32 root, uint64 index) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ICourt.AlreadyDemanded.selector, root, index);
    }

    function isRecorded(Demanded memory d, uint96 deposit) internal view {
        Demand memory made = court.demand(d);
        same(made.demander, CHALLENGER, "demander");
        same(made.deposit, deposit, "deposit");
        same(made.deadline, time() + ANSWER, "deadline");
        same(made.lateDeadline, made.deadline, "no late period");
        check(!made.closed && !made.answered, "open");
    }

    // ------------------------------------------------------------------------------------------------------- demanding

    function test_demands_revert_outside_the_window() public {
        World memory w = honest(5, 24);
        anchor(w);
        bytes memory reason =
            abi.encodeWithSelector(IDisputed.NotDisputed.selector, modelId, current, hashOf(w.result));
        refuses(chunkCall(w, Tree.Aggregate, 0), reason);
        refuses(listCall(w, 0), reason);
        agreed(w);
        forward(CHALLENGE);
        refuses(chunkCall(w, Tree.Aggregate, 0), reason);
        refuses(listCall(w, 0), reason);
    }

    function test_blobs_are_demanded_under_every_rule() public {
        combineRule = 2;
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, 0));
        succeeds(CHALLENGER, chunkCall(w, Tree.Contribution, 0));
        succeeds(CHALLENGER, chunkCall(w, Tree.Version, 0));
        succeeds(CHALLENGER, chunkCall(w, Tree.Parent, 0));
        succeeds(CHALLENGER, listCall(w, 0));
    }

    function test_demandChunks_reverts_for_a_contribution_that_is_not_in_the_list() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Membership memory forged = member(w, 1);
        forged.contribution.tensorRoot = "another";
        refuses(
            abi.encodeCall(court.demandChunks, (target, basisOf(w), Tree.Contribution, forged, only(0))),
            badProof(w.result.contributionsRoot, 1)
        );
    }

    function test_demandChunks_of_a_state_reverts_under_rules_without_one() public {
        World memory w = honest(5, 24);
        dispute(w);
        bytes memory reason = abi.encodeWithSelector(IDisputed.NoState.selector);
        refuses(chunkCall(w, Tree.State, 0), reason);
        refuses(chunkCall(w, Tree.ParentState, 0), reason);
    }

    function test_demandChunks_records_and_tells_for_every_tree_and_any_index() public {
        World memory w = honest(5, 24);
        dispute(w);
        for (uint256 i = 0; i < 4; ++i) {
            uint64 index = i % 2 == 0 ? 0 : NONE;
            Demanded memory d = demandedOf(w, rootIn(w, Tree(i)), false, index);
            bytes memory call = chunkCall(w, Tree(i), index);
            tells(d, 0.02 ether);
            succeeds(CHALLENGER, 0.02 ether, call);
            isRecorded(d, 0.02 ether);
        }
        same(address(court).balance, 0.08 ether, "deposits");
    }

    function tells(Demanded memory d, uint96 deposit) internal {
        expectEvent(address(court));
        emit ICourt.LeafDemanded(
            d.roundId, d.tally, CHALLENGER, d.root, d.entryBytes, d.entries, d.index, deposit, uint40(time()) + ANSWER,
            uint40(time()) + ANSWER
        );
    }

    function test_demandContributions_records_and_tells() public {
        World memory w = honest(5, 24);
        dispute(w);
        Demanded memory d = demandedOf(w, w.result.contributionsRoot, true, 2);
        bytes memory call = listCall(w, 2);
        tells(d, 0);
        succeeds(CHALLENGER, call);
        isRecorded(d, 0);
        // The same root as a blob would be another demand, which nothing here can make.
        same(court.demand(demandedOf(w, w.result.contributionsRoot, false, 2)).deadline, 0, "not that one");
    }

    function test_a_demand_moves_the_window_once() public {
        World memory w = honest(5, 24);
        dispute(w);
        uint40 end = cairn.round(modelId, current).challengeDeadline + CHALLENGE;
        bytes[2] memory calls = [listCall(w, 0), chunkCall(w, Tree.Parent, 0)];
        expectEvent(address(cairn));
        emit ICairn.WindowExtended(roundId(current), end);
        for (uint256 i = 0; i < 2; ++i) {
            succeeds(CHALLENGER, calls[i]);
            same(cairn.round(modelId, current).challengeDeadline, end, "window");
            check(cairn.round(modelId, current).extended, "flag");
        }
    }

    function test_each_leaf_is_demanded_once_a_result() public {
        World memory w = honest(2500, 24);
        dispute(w);
        bytes32 root = w.result.aggregateRoot;
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, 1));
        refuses(chunkCall(w, Tree.Aggregate, 1), alreadyDemanded(root, 1));
        succeeds(STRANGER, showCall(demandedOf(w, root, false, 1), Trees.open(w.aggregate, 1)));
        refuses(chunkCall(w, Tree.Aggregate, 1), alreadyDemanded(root, 1));
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, 2));
        succeeds(CHALLENGER, chunkCall(w, Tree.Version, 1));
    }

    function test_demands_fit_before_the_end_of_the_window_with_as_long_again_to_close_them() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, listCall(w, 0)); // moves the window, so that nothing moves it later
        uint40 end = cairn.round(modelId, current).challengeDeadline;
        vm.warp(end - 2 * ANSWER);
        succeeds(CHALLENGER, listCall(w, 1));
        forward(1);
        bytes memory reason = abi.encodeWithSelector(ICourt.TooLate.selector, time(), end);
        refuses(listCall(w, 2), reason);
        // The last second of the window is still there to close what went unanswered.
        vm.warp(end - 1);
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(demandedOf(w, w.result.contributionsRoot, true, 1)));
    }

    function test_the_first_demand_may_come_in_the_last_second_of_the_window() public {
        World memory w = honest(5, 24);
        dispute(w);
        forward(CHALLENGE - 1);
        succeeds(CHALLENGER, listCall(w, 0));
        same(cairn.round(modelId, current).challengeDeadline, time() + 1 + CHALLENGE, "moved");
    }

    // ------------------------------------------------------------------------------------------------------ many at once

    function several(uint64 a, uint64 b, uint64 c, uint64 d) internal pure returns (uint64[] memory list) {
        list = new uint64[](4);
        (list[0], list[1], list[2], list[3]) = (a, b, c, d);
    }

    function passedOver(Demanded memory d, uint256 deposit) internal {
        expectEvent(address(court));
        emit ICourt.DemandSkipped(d.roundId, d.tally, CHALLENGER, d.root, d.index, deposit);
    }

    function test_a_list_of_demands_divides_what_is_sent_and_credits_what_was_demanded_before() public {
        World memory w = honest(2500, 24);
        dispute(w);
        vm.deal(STRANGER, 1 ether);
        succeeds(STRANGER, 9, chunkCall(w, Tree.Aggregate, 1)); // somebody was faster with one of them
        bytes32 root = w.result.aggregateRoot;
        bytes memory call = chunksCall(w, Tree.Aggregate, several(0, 1, 2, 2));
        tells(demandedOf(w, root, false, 0), 7);
        passedOver(demandedOf(w, root, false, 1), 7);
        tells(demandedOf(w, root, false, 2), 7);
        passedOver(demandedOf(w, root, false, 2), 7);
        succeeds(CHALLENGER, 28, call);
        same(court.credit(CHALLENGER), 14, "of the two that are not new");
        isRecorded(demandedOf(w, root, false, 0), 7);
        isRecorded(demandedOf(w, root, false, 2), 7);
        same(court.demand(demandedOf(w, root, false, 1)).demander, STRANGER, "still the first one's");
        same(court.openDemands(roundId(current), tally(w)).count, 3, "open");
        same(court.openDemands(roundId(current), tally(w)).deposits, 9 + 14, "their deposits");
        same(address(court).balance, 37, "all that came in");
        refuses(call, alreadyDemanded(root, 2));
    }

    function test_a_list_of_contributions_is_demanded_likewise() public {
        World memory w = honest(5, 24);
        dispute(w);
        bytes memory call = abi.encodeCall(court.demandContributions, (targetOf(w), several(0, 1, 2, NONE)));
        succeeds(CHALLENGER, 8, call);
        isRecorded(demandedOf(w, w.result.contributionsRoot, true, NONE), 2);
        same(court.openDemands(roundId(current), tally(w)).count, 4, "all");
        refuses(call, alreadyDemanded(w.result.contributionsRoot, NONE));
    }

    function test_an_empty_list_or_unequal_parts_are_refused() public {
        World memory w = honest(5, 24);
        dispute(w);
        vm.deal(STRANGER, 1 ether);
        bytes memory reason = abi.encodeWithSelector(ICourt.NothingDemanded.selector);
        refuses(chunksCall(w, Tree.Aggregate, new uint64[](0)), reason);
        refuses(abi.encodeCall(court.demandContributions, (targetOf(w), new uint64[](0))), reason);
        bytes memory call = chunksCall(w, Tree.Aggregate, several(0, 1, 2, 3));
        refuses(STRANGER, 7, call, abi.encodeWithSelector(ICourt.UnequalDeposits.selector, 7, 4));
        vm.fee(1 gwei);
        uint256 least = 150_000 * 1 gwei;
        reason = abi.encodeWithSelector(ICourt.BadDeposit.selector, least - 1, least, uint256(0.1 ether));
        refuses(STRANGER, 4 * least - 4, call, reason); // enough for one of them, and not for each
        succeeds(CHALLENGER, 4 * least, call);
    }

    function test_openDemands_counts_what_is_neither_shown_nor_given_up() public {
        World memory w = honest(2500, 24);
        dispute(w);
        succeeds(CHALLENGER, 12, chunksCall(w, Tree.Aggregate, several(0, 1, 2, 3)));
        bytes32 held = tally(w);
        succeeds(STRANGER, showCall(demandedOf(w, w.result.aggregateRoot, false, 1), Trees.open(w.aggregate, 1)));
        same(court.openDemands(roundId(current), held).count, 3, "one was shown");
        same(court.openDemands(roundId(current), held).deposits, 9, "and paid");
        bytes[2] memory calls;
        for (uint64 i = 0; i < 2; ++i) {
            calls[i] = closeCall(demandedOf(w, w.result.aggregateRoot, false, 3 * i));
        }
        forward(ANSWER);
        succeeds(STRANGER, calls[0]);
        succeeds(STRANGER, calls[1]);
        same(court.openDemands(roundId(current), held).count, 1, "two were given up");
        same(court.openDemands(roundId(current), held).deposits, 3, "and paid back");
        same(court.openDemands(roundId(current), "another").count, 0, "of each tally");
    }

    function test_bondAsked_is_what_the_rounds_plan_asks() public {
        bondGwei = 3;
        World memory w = honest(5, 24);
        anchor(w);
        same(court.bondAsked(modelId, current), 3 gwei, "of the round's plan");
        bondGwei = 5;
        Plan memory later = planOf(w);
        bytes memory rules = RuleBook.encode(w.book);
        vm.prank(OWNER);
        cairn.setPlan(modelId, later, rules);
        same(court.bondAsked(modelId, current), 3 gwei, "whatever comes later");
    }

    // -------------------------------------------------------------------------------------------------------- deposits

    function test_depositNow_follows_the_base_fee_up_to_its_most() public {
        anchor(honest(5, 24));
        uint256[4] memory fees = [uint256(0), 7 gwei, 666 gwei, 667 gwei];
        uint256[4] memory deposits = [uint256(0), 150_000 * 7 gwei, 150_000 * 666 gwei, 0.1 ether];
        for (uint256 i = 0; i < 4; ++i) {
            vm.fee(fees[i]);
            same(court.depositNow(modelId, current), deposits[i], "deposit");
        }
        same(court.ANSWER_GAS(), 150_000, "gas");
        same(challenges.CHUNK_VALUES(), Trees.CHUNK, "of a chunk of so many values");
        same(court.MAX_DEPOSIT(), 0.1 ether, "most");
    }

    function test_a_demand_takes_the_deposit_and_no_more_than_the_most() public {
        World memory w = honest(5, 24);
        dispute(w);
        vm.deal(STRANGER, 1 ether);
        vm.fee(10 gwei);
        uint256 least = 150_000 * 10 gwei;
        uint256[3] memory bad = [uint256(0), least - 1, 0.1 ether + 1];
        for (uint256 i = 0; i < 3; ++i) {
            bytes memory reason =
                abi.encodeWithSelector(ICourt.BadDeposit.selector, bad[i], least, uint256(0.1 ether));
            refuses(STRANGER, bad[i], listCall(w, 0), reason);
            refuses(STRANGER, bad[i], chunkCall(w, Tree.Version, 0), reason);
        }
        succeeds(CHALLENGER, least, listCall(w, 0));
        succeeds(CHALLENGER, 0.1 ether, listCall(w, 1));
        vm.fee(1000 gwei);
        succeeds(CHALLENGER, 0.1 ether, listCall(w, 2));
    }

    function test_a_demand_takes_the_price_of_the_rounds_plan_where_an_answer_costs_less() public {
        demandPriceGwei = 60_000_000;
        World memory w = honest(5, 24);
        dispute(w);
        // A plan set meanwhile is not the round's.
        demandPriceGwei = 0;
        Plan memory later = planOf(w);
        bytes memory rules = RuleBook.encode(w.book);
        vm.prank(OWNER);
        cairn.setPlan(modelId, later, rules);
        vm.fee(399 gwei);
        same(court.depositNow(modelId, current), 0.06 ether, "price");
        bytes memory reason = abi.encodeWithSelector(
            ICourt.BadDeposit.selector, uint256(0.06 ether - 1), uint256(0.06 ether), uint256(0.1 ether)
        );
        vm.deal(STRANGER, 1 ether);
        refuses(STRANGER, 0.06 ether - 1, listCall(w, 0), reason);
        succeeds(CHALLENGER, 0.06 ether, listCall(w, 0));
        vm.fee(401 gwei);
        same(court.depositNow(modelId, current), 150_000 * 401 gwei, "gas");
    }

    // -------------------------------------------------------------------------------------------------------- showLeaf

    function test_showLeaf_shows_each_chunk_of_each_blob() public {
        World memory w = honest(2500, 24);
        dispute(w);
        Leaves[4] memory blobs = [w.aggregate, w.version, w.parent, w.updates[1]];
        for (uint256 i = 0; i < 4; ++i) {
            for (uint64 index = 0; index < 3; ++index) {
                Demanded memory d = demandedOf(w, rootIn(w, Tree(i)), false, index);
                succeeds(CHALLENGER, 1000, chunkCall(w, Tree(i), index));
                shows(d, Trees.open(blobs[i], index), 1000);
            }
        }
        same(court.credit(STRANGER), 12_000, "earned");
    }

    function shows(Demanded memory d, Opening memory o, uint256 earned) internal {
        uint256 before = court.credit(STRANGER);
        bytes memory call = showCall(d, o);
        expectEvent(address(court));
        emit ICourt.LeafShown(
            d.roundId, d.tally, STRANGER, d.root, d.entryBytes, d.entries, d.index, o.counted, o.leaf, o.proof
        );
        succeeds(STRANGER, call);
        Demand memory made = court.demand(d);
        check(made.closed && made.answered, "answered");
        same(court.credit(STRANGER), before + earned, "credit");
        refuses(call, abi.encodeWithSelector(ICourt.DemandIsClosed.selector, d.root, d.index));
        refuses(closeCall(d), abi.encodeWithSelector(ICourt.DemandIsClosed.selector, d.root, d.index));
    }

    function test_showLeaf_shows_contributions() public {
        World memory w = honest(5, 24);
        dispute(w);
        for (uint64 index = 0; index < 3; ++index) {
            succeeds(CHALLENGER, 5, listCall(w, index));
            Demanded memory d = demandedOf(w, w.result.contributionsRoot, true, index);
            shows(d, Trees.open(Trees.listOf(w.list), index), 5);
        }
    }

    function test_showLeaf_past_the_end_shows_the_count_alone() public {
        World memory w = honest(2500, 24);
        dispute(w);
        uint64[3] memory past = [uint64(10), 2500, NONE];
        for (uint256 i = 0; i < 3; ++i) {
            succeeds(CHALLENGER, 5, chunkCall(w, Tree.Aggregate, past[i]));
            succeeds(CHALLENGER, 5, listCall(w, past[i]));
            pastTheEnd(demandedOf(w, w.result.aggregateRoot, false, past[i]), w.aggregate, 10);
            pastTheEnd(demandedOf(w, w.result.contributionsRoot, true, past[i]), Trees.listOf(w.list), 3);
        }
    }

    function pastTheEnd(Demanded memory d, Leaves memory leaves, uint64 count) internal {
        bytes memory reason = badIndex(d.index, count);
        Opening memory o = Trees.open(leaves, 0);
        refuses(showCall(d, o), reason);
        o.leaf = "";
        if (o.proof.length != 0) refuses(showCall(d, o), reason);
        o = Opening(o.counted, hex"00", new bytes32[](0));
        refuses(showCall(d, o), reason);
        o.leaf = "";
        shows(d, o, 5);
    }

    function test_showLeaf_reverts_on_what_was_not_demanded() public {
        World memory w = honest(2500, 24);
        dispute(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, 1));
        Demanded memory d = demandedOf(w, w.result.aggregateRoot, false, 1);
        for (uint256 field = 0; field < 5; ++field) {
            Demanded memory other = Demanded(d.roundId, d.tally, d.root, d.entryBytes, d.entries, d.index);
            if (field == 0) other.roundId = RoundId.wrap("another");
            if (field == 1) other.tally = "another";
            if (field == 2) other.root = w.result.roots.tensor;
            if (field == 3) other.entries = 1;
            if (field == 4) other.index = 2;
            bytes memory reason = notDemanded(other);
            refuses(showCall(other, Trees.open(w.aggregate, 1)), reason);
            refuses(closeCall(other), reason);
        }
    }

    function test_showLeaf_reverts_on_what_does_not_answer() public {
        World memory w = honest(2500, 24);
        dispute(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, 1));
        Demanded memory d = demandedOf(w, w.result.aggregateRoot, false, 1);
        refuses(showCall(d, Trees.open(w.version, 1)), abi.encodeWithSelector(IDisputed.BadCount.selector, d.root));
        refuses(showCall(d, Trees.open(w.aggregate, 0)), badProof(d.root, 1));
        Opening memory o = Trees.open(w.aggregate, 1);
        o.leaf[5] ^= 0x80;
        refuses(showCall(d, o), badProof(d.root, 1));
        o.leaf = new bytes(1020);
        refuses(showCall(d, o), abi.encodeWithSelector(IDisputed.BadLength.selector, 1020, 1024));
        o.leaf = "";
        refuses(showCall(d, o), abi.encodeWithSelector(IDisputed.BadLength.selector, uint256(0), 1024));
        o = Trees.open(w.aggregate, 1);
        o.counted.count = 1000; // so that the leaf would lie past the end
        refuses(showCall(d, o), abi.encodeWithSelector(IDisputed.BadCount.selector, d.root));
    }

    function test_showLeaf_takes_no_chunk_or_contribution_of_a_wrong_length_even_if_it_was_attested() public {
        World memory w = honest(2500, 24);
        w.aggregate.data[9] = new bytes(784 - 4);
        anchor(w);
        Leaves memory list = Trees.listOf(w.list);
        list.data[0] = new bytes(191);
        w.result.contributionsRoot = Trees.rootOf(list);
        agreed(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, 9));
        Demanded memory d = demandedOf(w, w.result.aggregateRoot, false, 9);
        refuses(showCall(d, Trees.open(w.aggregate, 9)), abi.encodeWithSelector(IDisputed.BadLength.selector, 780, 784));
        succeeds(CHALLENGER, listCall(w, 0));
        d = demandedOf(w, w.result.contributionsRoot, true, 0);
        refuses(showCall(d, Trees.open(list, 0)), abi.encodeWithSelector(IDisputed.BadLength.selector, 191, 192));
    }

    function test_showLeaf_counts_in_the_last_second_and_not_in_the_next() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Aggregate, 0));
        succeeds(CHALLENGER, chunkCall(w, Tree.Version, 0));
        uint40 deadline = uint40(time()) + ANSWER;
        forward(ANSWER - 1);
        succeeds(STRANGER, showCall(demandedOf(w, w.result.aggregateRoot, false, 0), Trees.openAt(w.aggregate, 0)));
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        refuses(closeCall(d), abi.encodeWithSelector(ICourt.AnswerNotDue.selector, deadline));
        forward(1);
        refuses(
            showCall(d, Trees.openAt(w.version, 0)),
            abi.encodeWithSelector(ICourt.TooLate.selector, time(), deadline)
        );
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(d));
    }

    function skips(Demanded memory d, bytes4 reason) internal {
        expectEvent(address(court));
        emit ICourt.AnswerSkipped(d.roundId, d.tally, d.root, d.index, reason);
    }

    function test_showLeaves_shows_what_it_can_and_skips_the_rest_one_by_one() public {
        World memory w = honest(2500, 24);
        dispute(w);
        Shown[] memory shown = new Shown[](7);
        for (uint64 i = 0; i < 7; ++i) {
            uint64 index = i == 6 ? 99 : i % 3;
            Tree tree = i < 3 || i == 6 ? Tree.Aggregate : Tree.Version;
            Demanded memory d = demandedOf(w, rootIn(w, tree), false, index);
            shown[i] = Shown(d, Trees.open(tree == Tree.Aggregate ? w.aggregate : w.version, index == 99 ? 0 : index));
            if (i != 5) succeeds(CHALLENGER, 1000, chunkCall(w, tree, index));
        }
        succeeds(CHALLENGER, showCall(shown[1].demanded, shown[1].opening)); // somebody was faster
        shown[2].opening.leaf[0] ^= 0x80;
        shown[3].opening.leaf = "";
        shown[4].opening.counted.count = 1;
        skips(shown[1].demanded, ICourt.DemandIsClosed.selector);
        skips(shown[2].demanded, IDisputed.BadProof.selector);
        skips(shown[3].demanded, IDisputed.BadLength.selector);
        skips(shown[4].demanded, IDisputed.BadCount.selector);
        skips(shown[5].demanded, ICourt.NotDemanded.selector);
        skips(shown[6].demanded, IDisputed.BadIndex.selector);
        succeeds(STRANGER, abi.encodeCall(court.showLeaves, (shown)));
        same(court.credit(STRANGER), 1000, "for the first");
        for (uint256 i = 0; i < 7; ++i) {
            check(court.demand(shown[i].demanded).answered == (i < 2), "only those");
        }
    }

    function test_showLeaves_pays_once_for_a_leaf_that_stands_there_twice_and_nothing_after_the_deadline() public {
        World memory w = honest(2500, 24);
        dispute(w);
        Shown[] memory shown = new Shown[](2);
        for (uint64 i = 0; i < 2; ++i) {
            succeeds(CHALLENGER, 1000, chunkCall(w, Tree.Aggregate, i));
            shown[i] = Shown(demandedOf(w, w.result.aggregateRoot, false, 0), Trees.open(w.aggregate, 0));
        }
        skips(shown[1].demanded, ICourt.DemandIsClosed.selector);
        succeeds(STRANGER, abi.encodeCall(court.showLeaves, (shown)));
        same(court.credit(STRANGER), 1000, "once");
        forward(ANSWER);
        shown[0] = Shown(demandedOf(w, w.result.aggregateRoot, false, 1), Trees.open(w.aggregate, 1));
        skips(shown[0].demanded, ICourt.TooLate.selector);
        succeeds(STRANGER, abi.encodeCall(court.showLeaves, (shown)));
        same(court.credit(STRANGER), 1000, "nothing for the late one");
        succeeds(STRANGER, abi.encodeCall(court.showLeaves, (new Shown[](0))));
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(shown[0].demanded));
    }

    // ----------------------------------------------------------------------------------------------------- closeDemand

    function test_closeDemand_gives_the_deposit_back_and_makes_the_result_void() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, 777, chunkCall(w, Tree.Version, 0));
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        forward(ANSWER);
        bytes memory call = closeCall(d);
        expectEvent(address(court));
        emit ICourt.DemandClosed(d.roundId, d.tally, d.root, d.entryBytes, d.entries, d.index);
        convicts(w, Fault.Unanswered, Part.Service, 0, call);
        same(court.credit(CHALLENGER), 777, "deposit back");
        Demand memory made = court.demand(d);
        check(made.closed && !made.answered, "given up");
        refuses(call, abi.encodeWithSelector(ICourt.DemandIsClosed.selector, d.root, d.index));
    }

    function test_closeDemand_in_another_round_or_model_reverts() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Version, 0));
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        forward(ANSWER);
        refuses(abi.encodeCall(court.closeDemand, (modelId, current + 1, d)), notDemanded(d));
        refuses(abi.encodeCall(court.closeDemand, (cairn.modelIdOf(OWNER, GENESIS), current, d)), notDemanded(d));
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(d));
    }

    function test_closeDemand_of_a_result_that_is_void_by_now_gives_the_deposit_back_and_no_more() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, 5, chunkCall(w, Tree.Version, 0));
        succeeds(CHALLENGER, 5, chunkCall(w, Tree.Aggregate, 0));
        Demanded memory first = demandedOf(w, w.result.roots.tensor, false, 0);
        Demanded memory second = demandedOf(w, w.result.aggregateRoot, false, 0);
        forward(ANSWER);
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(first));
        // Attested anew by others: the old demand is not one of the new result.
        expelTwo();
        agreedByNew(w);
        bytes32 held = cairn.dispute(modelId, current).tally;
        check(held != first.tally, "counted from zero");
        succeeds(STRANGER, closeCall(second));
        same(court.credit(CHALLENGER), 10, "both deposits back");
        same(cairn.dispute(modelId, current).tally, held, "the new one stands");
    }

    function test_closeDemand_of_a_final_result_gives_the_deposit_back_and_no_more() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, 5, chunkCall(w, Tree.Version, 0));
        Demanded memory d = demandedOf(w, w.result.roots.tensor, false, 0);
        forward(2 * CHALLENGE);
        cairn.finalizeRound(modelId, current, w.result);
        succeeds(STRANGER, closeCall(d));
        same(court.credit(CHALLENGER), 5, "deposit back");
        check(cairn.round(modelId, current).finalized, "final");
        check(!court.demand(d).answered, "not answered");
    }

    function test_an_answer_in_time_to_a_void_result_still_earns_the_deposit() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, 5, chunkCall(w, Tree.Version, 0));
        Demanded memory first = demandedOf(w, w.result.roots.tensor, false, 0);
        forward(ANSWER - 1);
        succeeds(CHALLENGER, 5, chunkCall(w, Tree.Aggregate, 0));
        Demanded memory second = demandedOf(w, w.result.aggregateRoot, false, 0);
        forward(1);
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(first));
        succeeds(STRANGER, showCall(second, Trees.openAt(w.aggregate, 0)));
        same(court.credit(STRANGER), 5, "earned");
    }

    function test_an_unknown_demand_reads_as_zeros() public view {
        Demanded memory d = Demanded(RoundId.wrap(0), 0, 0, 0, 0, 0);
        same(keccak256(abi.encode(court.demand(d))), keccak256(new bytes(6 * 32)), "zeros");
        Counted memory none;
        same(none.count, 0, "nothing is counted");
    }
}
