// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Plan} from "../../interfaces/ICairn.sol";
import {IChallenges, Middle, Step, Sum} from "../../interfaces/IChallenges.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {Contribution} from "../../interfaces/IDisputed.sol";
import {Shape} from "../../interfaces/IRules.sol";
import {World} from "../support/Disputes.sol";
import {Streaming} from "../support/Streaming.sol";
import {Trees} from "../support/Trees.sol";

/// @notice Aggregates of rules that take the middle of a coordinate's values.
contract ColumnsTest is Streaming {
    int64 internal constant MEDIAN = 1 << 15;
    int64 internal share = MEDIAN;
    /// @dev How many of the three committed updates are listed.
    uint256 internal listed = 3;

    function planOf(World memory w) internal view override returns (Plan memory) {
        (w.book.combineRule, w.book.shape, w.book.uniform) = (2, Shape.Columns, true);
        w.book.parameters = new int64[](1);
        w.book.parameters[0] = share;
        return super.planOf(w);
    }

    /// @dev A round of five coordinates, in which the values of coordinate 2 are these.
    function columns(int256[3] memory values) internal view returns (World memory w) {
        w = honest(5, 24);
        for (uint256 k = 0; k < 3; ++k) {
            Trees.setValue(w.updates[k], 2, Trees.float32(values[k], 24));
        }
    }

    /// @dev With this aggregate there.
    function disputed(World memory w, int256 aggregate) internal {
        Trees.setValue(w.aggregate, 2, Trees.float32(aggregate, 24));
        anchor(w);
        Contribution[] memory list = new Contribution[](listed);
        for (uint256 k = 0; k < listed; ++k) {
            list[k] = w.list[k];
            list[k].factor = 1;
        }
        w.list = list;
        settle(w);
        agreed(w);
    }

    function hinted(int256 least, int256 greatest) internal pure returns (Sum memory s) {
        (s.middle.least, s.middle.greatest) = (int32(least), int32(greatest));
    }

    function call(World memory w, int256 least, int256 greatest) internal view returns (bytes memory) {
        return aggregateCall(w, 2, hinted(least, greatest), steps(w, 2, 0, listed));
    }

    function otherMiddle(int256 least, int256 greatest) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.OtherMiddle.selector, int32(least), int32(greatest));
    }

    function sorted(int256[3] memory v) internal pure returns (int256[3] memory) {
        for (uint256 i = 0; i < 3; ++i) {
            uint256 j = i % 2;
            if (v[j] > v[j + 1]) (v[j], v[j + 1]) = (v[j + 1], v[j]);
        }
        return v;
    }

    /// @dev Values within the grid, often equal, often at its ends.
    function values(uint256 seed) internal pure returns (int256[3] memory v) {
        for (uint256 k = 0; k < 3; ++k) {
            uint256 drawn = uint256(keccak256(abi.encode(seed, k)));
            int256 range = [int256(1), 3, 1000, 1 << 24][seed % 4];
            v[k] = int256(drawn % uint256(2 * range + 1)) - range;
        }
    }

    /// @dev Half to even.
    function half(int256 sum) internal pure returns (int256) {
        int256 down = sum >> 1;
        return sum & 1 == 1 && down & 1 == 1 ? down + 1 : down;
    }

    function test_convictAggregate_of_a_median_of_three(uint256 seed, int8 off) public {
        int256[3] memory v = values(seed);
        int256 right = sorted(v)[1];
        World memory w = columns(v);
        disputed(w, right);
        refuses(call(w, right, right), nothingWrong(Fault.Aggregate));
        int256 wrong = right + (off == 0 ? int256(1) : off);
        if (wrong < -(1 << 24) || wrong > 1 << 24) wrong = right > 0 ? right - 1 : right + 1;
        World memory liar = columns(v);
        disputed(liar, wrong);
        convicts(liar, Fault.Aggregate, Part.Values, 0, call(liar, right, right));
    }

    function test_convictAggregate_of_a_median_of_two(uint256 seed) public {
        listed = 2;
        int256[3] memory v = values(seed);
        (int256 least, int256 greatest) = v[0] < v[1] ? (v[0], v[1]) : (v[1], v[0]);
        int256 right = half(least + greatest);
        World memory w = columns(v);
        disputed(w, right);
        refuses(call(w, least, greatest), nothingWrong(Fault.Aggregate));
        World memory liar = columns(v);
        disputed(liar, right > 0 ? right - 1 : right + 1);
        convicts(liar, Fault.Aggregate, Part.Values, 0, call(liar, least, greatest));
    }

    function test_convictAggregate_of_a_trimmed_mean_that_leaves_out_none(uint256 seed) public {
        share = 21_845; // a third of three, less a 65536th: none
        int256[3] memory v = values(seed);
        int256[3] memory s = sorted(v);
        int256 sum = v[0] + v[1] + v[2];
        int256 right = (2 * (sum + 3 * (1 << 25)) + 3) / 6 - (1 << 25); // of three no quotient is a tie
        World memory w = columns(v);
        disputed(w, right);
        refuses(call(w, s[0], s[2]), nothingWrong(Fault.Aggregate));
        World memory liar = columns(v);
        disputed(liar, right > 0 ? right - 1 : right + 1);
        convicts(liar, Fault.Aggregate, Part.Values, 0, call(liar, s[0], s[2]));
    }

    function test_convictAggregate_of_a_median_of_four(uint256 seed) public {
        listed = 4;
        int256[4] memory v;
        for (uint256 k = 0; k < 4; ++k) {
            v[k] = int256(uint256(keccak256(abi.encode(seed, k))) % 7) - 3;
        }
        int256[4] memory s = v;
        for (uint256 i = 0; i < 16; ++i) {
            uint256 j = i % 3;
            if (s[j] > s[j + 1]) (s[j], s[j + 1]) = (s[j + 1], s[j]);
        }
        int256 right = half(s[1] + s[2]);
        World memory w = disputedOfFour(v, right, [true, true, true, true]);
        refuses(call(w, s[1], s[2]), nothingWrong(Fault.Aggregate));
        if (s[0] != s[1]) refuses(call(w, s[0], s[2]), otherMiddle(s[0], s[2]));
        if (s[3] != s[2]) refuses(call(w, s[1], s[3]), otherMiddle(s[1], s[3]));
        World memory liar = disputedOfFour(v, right + 1, [true, true, true, true]);
        convicts(liar, Fault.Aggregate, Part.Values, 0, call(liar, s[1], s[2]));
    }

    function test_a_share_of_a_third_leaves_out_one_at_each_end_of_three() public {
        share = 21_846;
        World memory w = columns([int256(-5), 9, 1]);
        disputed(w, 1);
        refuses(call(w, 1, 1), nothingWrong(Fault.Aggregate));
        refuses(call(w, -5, 9), otherMiddle(-5, 9));
    }

    function test_convictAggregate_reverts_on_every_other_middle(uint256 seed, int32 least, int32 greatest) public {
        int256[3] memory v = values(seed);
        int256 middle = sorted(v)[1];
        if (least % 2 == 0) least = int32(v[uint32(least) % 3]);
        if (greatest % 2 == 0) greatest = int32(v[uint32(greatest) % 3]);
        if (least == middle && greatest == middle) least = least - 1;
        World memory w = columns(v);
        disputed(w, middle == 0 ? int256(1) : int256(0));
        refuses(call(w, least, greatest), otherMiddle(least, greatest));
    }

    function test_convictAggregate_reverts_on_a_middle_of_the_other_end() public {
        share = 0;
        World memory w = columns([int256(1), 2, 3]);
        disputed(w, 1);
        refuses(call(w, 2, 3), otherMiddle(2, 3));
        refuses(call(w, 1, 2), otherMiddle(1, 2));
        refuses(call(w, 0, 3), otherMiddle(0, 3));
        refuses(call(w, 1, 4), otherMiddle(1, 4));
        convicts(w, Fault.Aggregate, Part.Values, 0, call(w, 1, 3));
    }

    function test_values_are_counted_over_several_transactions() public {
        World memory w = columns([int256(7), -4, 7]);
        disputed(w, 6);
        Sum memory progress = hinted(7, 7);
        Sum memory before = sumOf(w, 2, 2);
        before.middle = Middle({least: 7, greatest: 7, below: 1, atLeast: 1, atGreatest: 1, above: 0});
        before.sum = 0;
        succeeds(CHALLENGER, addCall(w, 2, progress, steps(w, 2, 0, 2)));
        Step[] memory last = steps(w, 2, 2, 3);
        before.middle.least = 6;
        refuses(CHALLENGER, 0, aggregateCall(w, 2, before, last), badProgress(CHALLENGER));
        before.middle.least = 7;
        convicts(w, Fault.Aggregate, Part.Values, 0, aggregateCall(w, 2, before, last));
    }

    function test_values_between_the_two_are_added_up_and_those_outside_are_not() public {
        share = 0;
        World memory w = columns([int256(10), -20, 4]);
        disputed(w, 0);
        Sum memory before = sumOf(w, 2, 3);
        before.middle = Middle({least: -20, greatest: 10, below: 0, atLeast: 1, atGreatest: 1, above: 0});
        before.sum = 4;
        succeeds(CHALLENGER, addCall(w, 2, hinted(-20, 10), steps(w, 2, 0, 3)));
        convicts(w, Fault.Aggregate, Part.Values, 0, aggregateCall(w, 2, before, steps(w, 2, 3, 3)));
    }
}
