// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Plan} from "../../interfaces/ICairn.sol";
import {Shape} from "../../interfaces/IRules.sol";
import {IChallenges, Step, Sum} from "../../interfaces/IChallenges.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {Contribution, IDisputed, Opening, Target} from "../../interfaces/IDisputed.sol";
import {World} from "../support/Disputes.sol";
import {Streaming} from "../support/Streaming.sol";
import {Trees} from "../support/Trees.sol";

contract StreamsTest is Streaming {
    uint16 internal combineRule = 1;
    uint16 internal updateForm = 1;

    function planOf(World memory w) internal view override returns (Plan memory) {
        (w.book.combineRule, w.book.updateForm) = (combineRule, updateForm);
        w.book.shape = combineRule == 1 ? Shape.Fold : Shape.Select;
        return super.planOf(w);
    }

    // ------------------------------------------------------------------------------------------------ addContributions

    function test_addContributions_reverts_outside_the_window() public {
        World memory w = honest(5, 24);
        anchor(w);
        bytes memory reason =
            abi.encodeWithSelector(IDisputed.NotDisputed.selector, modelId, current, hashOf(w.result));
        refuses(addCall(w, 0, zeros(), steps(w, 0, 0, 1)), reason);
        agreed(w);
        forward(CHALLENGE);
        refuses(addCall(w, 0, zeros(), steps(w, 0, 0, 1)), reason);
    }

    function test_values_of_another_update_form_are_not_added_up() public {
        updateForm = 3;
        World memory w = honest(5, 24);
        dispute(w);
        bytes memory reason = abi.encodeWithSelector(IChallenges.FormNotDisputable.selector, uint16(3));
        refuses(addCall(w, 0, zeros(), steps(w, 0, 0, 1)), reason);
        refuses(aggregateCall(w, 0, zeros(), steps(w, 0, 0, 3)), reason);
        succeeds(CHALLENGER, addCall(w, NONE, zeros(), steps(w, NONE, 0, 1)));
    }

    function test_addContributions_reverts_unless_it_begins_with_zeros() public {
        World memory w = honest(5, 24);
        dispute(w);
        Sum[12] memory sums;
        sums[0].weight = 1;
        sums[1].sum = -1;
        sums[2].peaks = new bytes32[](1);
        sums[3].steps = 1;
        sums[4].factor = 1;
        sums[5].middle.below = 1;
        sums[6].middle.atLeast = 1;
        sums[7].middle.atGreatest = 1;
        sums[8].middle.above = 1;
        sums[9].window.within = 1;
        sums[10].window.atLeast = 1;
        sums[11].window.atGreatest = 1;
        for (uint256 i = 0; i < 12; ++i) {
            refuses(addCall(w, 0, sums[i], steps(w, 0, 0, 1)), badProgress(STRANGER));
        }
    }

    function test_addContributions_goes_on_from_the_senders_last_progress_alone() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, addCall(w, 3, zeros(), steps(w, 3, 0, 1)));
        bytes memory next = addCall(w, 3, sumOf(w, 3, 1), steps(w, 3, 1, 2));
        refuses(STRANGER, 0, next, badProgress(STRANGER));
        bytes memory elsewhere = addCall(w, 4, sumOf(w, 3, 1), steps(w, 4, 1, 2));
        refuses(CHALLENGER, 0, elsewhere, badProgress(CHALLENGER));
        succeeds(CHALLENGER, next);
        refuses(CHALLENGER, 0, next, badProgress(CHALLENGER));
        // From the beginning it may start again at any time.
        succeeds(CHALLENGER, addCall(w, 3, zeros(), steps(w, 3, 0, 1)));
        succeeds(CHALLENGER, next);
    }

    function test_addContributions_reverts_on_a_changed_progress(uint8 field) public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, addCall(w, 0, zeros(), steps(w, 0, 0, 2)));
        Sum memory s = sumOf(w, 0, 2);
        field = uint8(within(field, 0, 6));
        if (field == 0) s.next = 1;
        if (field == 1) s.weight += 1;
        if (field == 2) s.sum += 1;
        if (field == 3) s.peaks[0] = ~s.peaks[0];
        if (field == 4) s.peaks = new bytes32[](0);
        if (field == 5) s.steps += 1;
        if (field == 6) s.factor -= 1;
        refuses(CHALLENGER, 0, addCall(w, 0, s, steps(w, 0, 2, 3)), badProgress(CHALLENGER));
    }

    function test_addContributions_reverts_on_more_steps_than_contributions() public {
        World memory w = honest(5, 24);
        dispute(w);
        Step[] memory four = new Step[](4);
        for (uint256 i = 0; i < 4; ++i) {
            four[i] = steps(w, 0, 0, 1)[0];
        }
        refuses(
            addCall(w, 0, zeros(), four), abi.encodeWithSelector(IChallenges.TooManySteps.selector, uint32(0), 3)
        );
        succeeds(CHALLENGER, addCall(w, 0, zeros(), steps(w, 0, 0, 3)));
        refuses(
            CHALLENGER,
            0,
            addCall(w, 0, sumOf(w, 0, 3), steps(w, 0, 0, 1)),
            abi.encodeWithSelector(IChallenges.TooManySteps.selector, 3, 3)
        );
    }

    function test_addContributions_reverts_on_a_chunk_that_is_not_the_contributions() public {
        World memory w = honest(2500, 24);
        dispute(w);
        Step[] memory some = steps(w, 256, 0, 1);
        some[0].chunk = Trees.openAt(w.updates[1], 256);
        refuses(
            addCall(w, 256, zeros(), some),
            abi.encodeWithSelector(IDisputed.BadCount.selector, w.list[0].tensorRoot)
        );
        some = steps(w, 255, 0, 1);
        refuses(addCall(w, 256, zeros(), some), badProof(w.list[0].tensorRoot, 1));
        refuses(addCall(w, 2500, zeros(), some), badIndex(2500, 2500));
    }

    function test_addContributions_leaves_bad_chunks_to_convictChunk() public {
        World memory w = honest(262, 24);
        Trees.setValue(w.updates[0], 3, 1 << 31);
        w.updates[1].data[1] = new bytes(28);
        dispute(w);
        refuses(
            addCall(w, 3, zeros(), steps(w, 3, 0, 1)), abi.encodeWithSelector(IChallenges.NotOnGrid.selector, 3)
        );
        refuses(
            addCall(w, 261, zeros(), steps(w, 261, 0, 2)),
            abi.encodeWithSelector(IDisputed.BadLength.selector, 28, 24)
        );
    }

    function test_addContributions_tells_and_moves_the_window_once_unless_nothing_is_added() public {
        World memory w = honest(5, 24);
        dispute(w);
        uint40 end = cairn.round(modelId, current).challengeDeadline;
        bytes32 held = tally(w);
        for (uint32 i = 0; i < 3; ++i) {
            bytes memory call = addCall(w, 1, zeros(), steps(w, 1, 0, i));
            expectEvent(address(challenges));
            emit IChallenges.ChallengeAdvanced(roundId(current), held, CHALLENGER, i);
            if (i == 1) expectEvent(address(cairn));
            if (i == 1) emit ICairn.WindowExtended(roundId(current), end + CHALLENGE);
            succeeds(CHALLENGER, call);
            same(cairn.round(modelId, current).challengeDeadline, i == 0 ? end : end + CHALLENGE, "window");
        }
    }

    // ------------------------------------------------------------------------------------------------ convictAggregate

    function test_convictAggregate_reverts_on_every_right_value() public {
        uint8[3] memory grids = [0, 24, 126];
        for (uint256 i = 0; i < 3; ++i) {
            World memory w = honest(2500, grids[i]);
            dispute(w);
            uint16[5] memory coordinates = [0, 255, 256, 512, 2499];
            for (uint256 j = 0; j < 5; ++j) {
                uint64 place = coordinates[j];
                refuses(aggregateCall(w, place, zeros(), steps(w, place, 0, 3)), nothingWrong(Fault.Aggregate));
            }
        }
    }

    function test_convictAggregate_convicts_every_other_value(uint256 place, int256 other, uint8 gridBits) public {
        World memory w = honest(9, [0, 24, 126][gridBits % 3]);
        uint64 coordinate = uint64(within(place, 0, 8));
        int256 q = int256(within(uint256(other), 0, 1 << 25)) - (1 << 24);
        if (q == meanAt(coordinate)) --q;
        Trees.setValue(w.aggregate, coordinate, Trees.float32(q, w.gridBits));
        dispute(w);
        convicts(w, Fault.Aggregate, Part.Values, 0, aggregateCall(w, coordinate, zeros(), steps(w, coordinate, 0, 3)));
    }

    function test_convictAggregate_convicts_in_every_chunk_in_one_go_or_one_by_one() public {
        uint16[4] memory coordinates = [255, 256, 511, 2499];
        for (uint256 i = 0; i < 4; ++i) {
            World memory w = honest(2500, 24);
            uint64 place = coordinates[i];
            Trees.setValue(w.aggregate, place, Trees.float32(meanAt(place) + 1, 24));
            dispute(w);
            for (uint256 k = 0; k < i; ++k) {
                succeeds(CHALLENGER, addCall(w, place, sumOf(w, place, k), steps(w, place, k, k + 1)));
            }
            bytes memory call = aggregateCall(w, place, sumOf(w, place, i), steps(w, place, i, 3));
            if (i != 0) refuses(call, badProgress(STRANGER));
            convicts(w, Fault.Aggregate, Part.Values, place / 256, call);
        }
    }

    function test_convictAggregate_reverts_on_all_ones() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        bytes memory call = abi.encodeCall(
            challenges.convictAggregate,
            (target, basisOf(w), NONE, zeros(), steps(w, NONE, 0, 3), Trees.open(w.aggregate, 0))
        );
        refuses(call, badIndex(NONE, 5));
    }

    function test_convictAggregate_reverts_on_too_few_steps() public {
        World memory w = honest(5, 24);
        dispute(w);
        bytes memory reason = abi.encodeWithSelector(IChallenges.TooFewSteps.selector, 2, 3);
        refuses(aggregateCall(w, 0, zeros(), steps(w, 0, 0, 2)), reason);
        reason = abi.encodeWithSelector(IChallenges.TooFewSteps.selector, uint32(0), 3);
        refuses(aggregateCall(w, 0, zeros(), steps(w, 0, 0, 0)), reason);
    }

    function test_convictAggregate_reverts_on_another_list(uint8 which) public {
        World memory w = honest(5, 24);
        dispute(w);
        Step[] memory some = steps(w, 0, 0, 3);
        which = uint8(within(which, 0, 5));
        if (which == 0) (some[0], some[1]) = (some[1], some[0]);
        if (which == 1) some[2] = some[1];
        Contribution[] memory given = new Contribution[](3);
        for (uint256 k = 0; k < 3; ++k) {
            Contribution memory c = some[k].contribution;
            given[k] = Contribution(c.participant, c.digest, c.tensorRoot, c.weight, c.steps, c.factor);
            some[k].contribution = given[k];
        }
        if (which == 2) given[1].weight += 1;
        if (which == 3) given[0].digest = "another";
        if (which == 4) given[1].steps += 1;
        if (which == 5) given[1].factor += 1;
        refuses(aggregateCall(w, 0, zeros(), some), otherList(w, given));
    }

    function test_convictAggregate_leaves_a_value_off_the_grid_to_convictChunk() public {
        World memory w = honest(5, 24);
        Trees.setValue(w.aggregate, 2, 0x7fc00000);
        dispute(w);
        refuses(
            aggregateCall(w, 2, zeros(), steps(w, 2, 0, 3)), abi.encodeWithSelector(IChallenges.NotOnGrid.selector, 2)
        );
    }

    function test_convictAggregate_takes_the_heaviest_and_the_largest() public {
        weights = [1000, 999, 1];
        World memory w = honest(2, 0);
        for (uint256 k = 0; k < 3; ++k) {
            Trees.setValue(w.updates[k], 1, Trees.float32(-(1 << 24), 0));
        }
        Trees.setValue(w.aggregate, 1, Trees.float32(-(1 << 24), 0));
        dispute(w);
        refuses(aggregateCall(w, 1, zeros(), steps(w, 1, 0, 3)), nothingWrong(Fault.Aggregate));
    }

    // ---------------------------------------------------------------------------------------------------- convictTotal

    function test_convictTotal_convicts_another_sum_under_every_rule(bool byOne) public {
        combineRule = byOne ? 1 : 9;
        World memory w = honest(5, 24);
        anchor(w);
        w.result.totalWeight += 1;
        agreed(w);
        if (byOne) succeeds(CHALLENGER, addCall(w, NONE, zeros(), steps(w, NONE, 0, 2)));
        uint256 done = byOne ? 2 : 0;
        convicts(w, Fault.Total, Part.Whole, 0, totalCall(w, sumOf(w, NONE, done), steps(w, NONE, done, 3)));
    }

    function test_convictTotal_convicts_another_sum_of_steps_under_every_rule(bool mean, bool more) public {
        combineRule = mean ? 1 : 9;
        World memory w = honest(5, 24);
        anchor(w);
        w.result.totalSteps = more ? w.result.totalSteps + 1 : w.result.totalSteps - 1;
        agreed(w);
        convicts(w, Fault.Total, Part.Whole, 0, totalCall(w, zeros(), steps(w, NONE, 0, 3)));
    }

    function test_convictTotal_convicts_a_divisor_that_is_not_the_sum_of_the_factors_of_a_mean(uint32 divisor) public {
        World memory w = honest(5, 24);
        anchor(w);
        w.result.divisor = uint32(within(divisor, 1, w.result.totalWeight - 1));
        agreed(w);
        convicts(w, Fault.Total, Part.Whole, 0, totalCall(w, zeros(), steps(w, NONE, 0, 3)));
    }

    function test_convictTotal_convicts_a_divisor_over_the_factors_of_a_fold() public {
        World memory w = honest(5, 24);
        anchor(w);
        w.list[0].factor -= 3;
        settle(w);
        w.result.divisor = w.result.totalWeight;
        agreed(w);
        convicts(w, Fault.Total, Part.Whole, 0, totalCall(w, zeros(), steps(w, NONE, 0, 3)));
    }

    function test_convictTotal_takes_a_larger_divisor_under_other_rules_and_no_smaller_one() public {
        combineRule = 9;
        World memory w = honest(5, 24);
        anchor(w);
        w.list[0].factor -= 3;
        settle(w);
        w.result.divisor = w.result.totalWeight;
        agreed(w);
        refuses(totalCall(w, zeros(), steps(w, NONE, 0, 3)), nothingWrong(Fault.Total));
        w = honest(5, 24);
        anchor(w);
        w.result.divisor -= 1;
        agreed(w);
        convicts(w, Fault.Total, Part.Whole, 0, totalCall(w, zeros(), steps(w, NONE, 0, 3)));
    }

    function test_convictAggregate_divides_by_the_divisor_and_multiplies_by_the_factors() public {
        // Factors beside the weights are Factor's, a divisor beside them Total's; the sum goes by what is listed.
        World memory w = honest(5, 24);
        anchor(w);
        w.list[0].factor = 0;
        settle(w);
        w.result.divisor = 18;
        int256 sum = 7 * updateAt(1, 2) + updateAt(2, 2);
        int256 twice = 2 * sum + 18;
        int256 q = twice / 36;
        if (twice < 0 && twice % 36 != 0) --q;
        if (twice % 36 == 0 && q % 2 != 0) --q;
        check(q != meanAt(2), "another value than the mean's");
        Trees.setValue(w.aggregate, 2, Trees.float32(q, 24));
        w.result.aggregateRoot = Trees.rootOf(w.aggregate);
        agreed(w);
        refuses(aggregateCall(w, 2, zeros(), steps(w, 2, 0, 3)), nothingWrong(Fault.Aggregate));
        convicts(w, Fault.Aggregate, Part.Values, 0, aggregateCall(w, 3, zeros(), steps(w, 3, 0, 3)));
    }

    function test_convictTotal_reverts_on_the_right_sum() public {
        World memory w = honest(5, 24);
        dispute(w);
        refuses(totalCall(w, zeros(), steps(w, NONE, 0, 3)), nothingWrong(Fault.Total));
        refuses(
            totalCall(w, zeros(), steps(w, NONE, 0, 1)), abi.encodeWithSelector(IChallenges.TooFewSteps.selector, 1, 3)
        );
    }

    function test_convictTotal_does_not_take_the_progress_of_a_coordinate() public {
        World memory w = honest(5, 24);
        dispute(w);
        succeeds(CHALLENGER, addCall(w, 0, zeros(), steps(w, 0, 0, 2)));
        refuses(CHALLENGER, 0, totalCall(w, sumOf(w, 0, 2), steps(w, NONE, 2, 3)), badProgress(CHALLENGER));
    }
}
