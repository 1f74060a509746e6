// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Plan} from "../../interfaces/ICairn.sol";
import {IChallenges, Middle, Step, Sum, Window} from "../../interfaces/IChallenges.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {Shape} from "../../interfaces/IRules.sol";
import {World} from "../support/Disputes.sol";
import {Streaming} from "../support/Streaming.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Aggregates of rules that select contributions and take their values nearest to the median.
contract SelectColumnsTest is Streaming {
    int64 internal leftOut = 2;
    /// @dev Whether each of the four committed updates is selected.
    bool[4] internal chosen = [true, true, true, true];

    function planOf(World memory w) internal view override returns (Plan memory) {
        (w.book.combineRule, w.book.shape, w.book.uniform) = (8, Shape.SelectColumns, true);
        w.book.parameters = new int64[](1);
        w.book.parameters[0] = leftOut;
        return super.planOf(w);
    }

    function disputed(int256[4] memory v, int256 aggregate) internal returns (World memory) {
        return disputedOfFour(v, aggregate, chosen);
    }

    function hinted(int256[3] memory ends) internal pure returns (Sum memory s) {
        (s.middle.least, s.middle.greatest) = (int32(ends[0]), int32(ends[1]));
        s.window.least = int32(ends[2]);
    }

    function call(World memory w, int256[3] memory ends) internal view returns (bytes memory) {
        return aggregateCall(w, 2, hinted(ends), steps(w, 2, 0, 4));
    }

    function otherMiddle(int256 least, int256 greatest) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.OtherMiddle.selector, int32(least), int32(greatest));
    }

    /// @dev In ascending order of the distance from half of this; of those as far as each other, lower or higher ones first.
    function ordered(int256[] memory v, int256 twice, int256 sign) internal pure {
        for (uint256 i = 0; i < v.length; ++i) {
            for (uint256 j = i + 1; j < v.length; ++j) {
                (int256 a, int256 b) = (abs(2 * v[i] - twice), abs(2 * v[j] - twice));
                if (b < a || (a == b && sign * v[j] < sign * v[i])) (v[i], v[j]) = (v[j], v[i]);
            }
        }
    }

    function abs(int256 x) internal pure returns (int256) {
        return x < 0 ? -x : x;
    }

    /// @dev What the rule gives, and what a challenger says of the values.
    function expected(int256[4] memory given) internal view returns (int256 right, int256[3] memory ends) {
        int256[] memory v = new int256[](4);
        uint256 count;
        for (uint256 k = 0; k < 4; ++k) {
            if (chosen[k]) v[count++] = given[k];
        }
        assembly ("memory-safe") {
            mstore(v, count)
        }
        uint256 kept = count > uint64(leftOut) ? count - uint64(leftOut) : 1;
        ordered(v, -(1 << 30), 1);
        (ends[0], ends[1]) = (v[(count - 1) / 2], v[count / 2]);
        int256 twice = ends[0] + ends[1];
        int256 sum;
        for (uint256 side = 0; side < 2; ++side) {
            ordered(v, twice, side == 0 ? int256(1) : -1);
            for (uint256 k = 0; k < kept; ++k) {
                sum += v[k];
            }
        }
        int256 far = abs(2 * v[kept - 1] - twice);
        ends[2] = (twice - far) / 2;
        right = half(sum, int256(kept));
    }

    /// @dev sum / (2 * kept), half to even.
    function half(int256 sum, int256 kept) internal pure returns (int256 q) {
        int256 magnitude = abs(sum);
        q = magnitude / (2 * kept);
        int256 rest = magnitude % (2 * kept);
        if (rest > kept || (rest == kept && q % 2 == 1)) ++q;
        if (sum < 0) q = -q;
    }

    /// @dev Values within the grid, often equal, often at its ends.
    function values(uint256 seed) internal pure returns (int256[4] memory v) {
        for (uint256 k = 0; k < 4; ++k) {
            uint256 drawn = uint256(keccak256(abi.encode(seed, k)));
            int256 range = [int256(1), 3, 1000, 1 << 24][seed % 4];
            v[k] = int256(drawn % uint256(2 * range + 1)) - range;
        }
    }

    function test_convictAggregate_of_the_values_nearest_to_the_median(uint256 seed, uint8 out, uint8 without) public {
        leftOut = int64(uint64(out % 5));
        if (without % 5 < 4) chosen[without % 5] = false;
        int256[4] memory v = values(seed);
        (int256 right, int256[3] memory ends) = expected(v);
        refuses(call(disputed(v, right), ends), nothingWrong(Fault.Aggregate));
        World memory liar = disputed(v, right > 0 ? right - 1 : right + 1);
        convicts(liar, Fault.Aggregate, Part.Values, 0, call(liar, ends));
    }

    function test_convictAggregate_takes_no_side_where_values_are_as_far_from_the_median() public {
        leftOut = 1; // of -10, 0, 0, 10 three are kept: -10 and 10 count half each
        int256[4] memory v = [int256(-10), 0, 0, 10];
        refuses(call(disputed(v, 0), [int256(0), 0, -10]), nothingWrong(Fault.Aggregate));
        World memory liar = disputed(v, -3);
        convicts(liar, Fault.Aggregate, Part.Values, 0, call(liar, [int256(0), 0, -10]));
    }

    function test_what_is_not_selected_has_no_say() public {
        chosen[3] = false;
        int256[4] memory v = [int256(1), 2, 4, 1 << 24]; // of the three, two are left out
        refuses(call(disputed(v, 2), [int256(2), 2, 2]), nothingWrong(Fault.Aggregate));
    }

    function test_convictAggregate_reverts_on_other_values_in_the_middle() public {
        World memory w = disputed([int256(1), 2, 4, 9], 0); // the median is 3; 2 and 4 are kept
        refuses(call(w, [int256(1), 4, 2]), otherMiddle(1, 4));
        refuses(call(w, [int256(2), 9, 2]), otherMiddle(2, 9));
        refuses(call(w, [int256(3), 3, 2]), otherMiddle(3, 3));
        convicts(w, Fault.Aggregate, Part.Values, 0, call(w, [int256(2), 4, 2]));
    }

    function test_convictAggregate_reverts_on_other_ends_of_the_window() public {
        World memory w = disputed([int256(1), 2, 4, 9], 0);
        refuses(call(w, [int256(2), 4, 4]), otherMiddle(4, 2)); // from above to below
        refuses(call(w, [int256(2), 4, 1]), otherMiddle(1, 5)); // two are within already
        refuses(call(w, [int256(2), 4, 3]), otherMiddle(3, 3)); // too few are within
        refuses(call(w, [int256(2), 4, -3]), otherMiddle(-3, 9));
        convicts(w, Fault.Aggregate, Part.Values, 0, call(w, [int256(2), 4, 2]));
    }

    function test_values_are_counted_over_several_transactions() public {
        World memory w = disputed([int256(7), -4, 7, 8], 0);
        Sum memory before = sumOf(w, 2, 2);
        before.middle = Middle({least: 7, greatest: 7, below: 1, atLeast: 1, atGreatest: 1, above: 0});
        before.window = Window({least: 7, within: 0, atLeast: 1, atGreatest: 1});
        before.sum = 0;
        succeeds(CHALLENGER, addCall(w, 2, hinted([int256(7), 7, 7]), steps(w, 2, 0, 2)));
        Step[] memory last = steps(w, 2, 2, 4);
        before.window.within = 1;
        refuses(CHALLENGER, 0, aggregateCall(w, 2, before, last), badProgress(CHALLENGER));
        before.window.within = 0;
        convicts(w, Fault.Aggregate, Part.Values, 0, aggregateCall(w, 2, before, last));
    }

    function test_convictTotal_asks_for_as_many_as_the_rule_selects_at_least() public {
        chosen[0] = false;
        int256[4] memory v = values(1);
        World memory w = disputed(v, 0); // three are selected, of four without two
        refuses(totalCall(w, zeros(), steps(w, NONE, 0, 4)), nothingWrong(Fault.Total));
        (chosen[1], chosen[2]) = (false, false);
        w = disputed(v, 0);
        convicts(w, Fault.Total, Part.Whole, 0, totalCall(w, zeros(), steps(w, NONE, 0, 4)));
    }

    function test_convictTotal_convicts_a_divisor_that_is_not_how_many_are_selected() public {
        World memory w = honest(5, 24);
        anchor(w);
        for (uint256 k = 0; k < 3; ++k) {
            w.list[k].factor = 1;
        }
        settle(w);
        w.result.divisor = 4;
        agreed(w);
        convicts(w, Fault.Total, Part.Whole, 0, totalCall(w, zeros(), steps(w, NONE, 0, 3)));
    }

    function test_convictFactor_convicts_a_factor_over_one(uint32 more) public {
        World memory w = honest(5, 24);
        anchor(w);
        (w.list[0].factor, w.list[1].factor, w.list[2].factor) = (0, 1, uint32(within(more, 2, 1 << 27)));
        settle(w);
        agreed(w);
        Leaves memory list = Trees.listOf(w.list);
        for (uint64 k = 0; k < 2; ++k) {
            refuses(
                abi.encodeCall(challenges.convictFactor, (targetOf(w), basisOf(w), k, Trees.open(list, k))),
                nothingWrong(Fault.Factor)
            );
        }
        convicts(
            w, Fault.Factor, Part.Whole, 0,
            abi.encodeCall(challenges.convictFactor, (targetOf(w), basisOf(w), 2, Trees.open(list, 2)))
        );
    }
}
