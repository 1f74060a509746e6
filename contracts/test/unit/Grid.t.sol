// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Grid} from "../../challenges/Grid.sol";
import {Test} from "../support/Test.sol";
import {Trees} from "../support/Trees.sol";

/// @notice Cases derived by hand; `tests/chain/test_grid_contract.py` holds the library against numpy.
contract GridTest is Test {
    uint32 internal constant SIGN = 1 << 31;
    uint32 internal constant ONE = 0x3f800000;
    uint32 internal constant INFINITY = 0x7f800000;
    uint32 internal constant LARGEST = 0x7f7fffff;
    int256 internal constant LIMIT = 1 << 24;

    function isOff(uint32 bits, uint8 gridBits) internal pure {
        (bool canonical, int256 q) = Grid.toInteger(bits, gridBits);
        check(!canonical && q == 0, "not canonical");
    }

    function isOn(uint32 bits, uint8 gridBits, int256 expected) internal pure {
        (bool canonical, int256 q) = Grid.toInteger(bits, gridBits);
        check(canonical, "canonical");
        check(q == expected, "its integer");
    }

    /// @dev 2^exponent.
    function power(int256 exponent) internal pure returns (uint32) {
        if (exponent < -126) return uint32(1 << uint256(exponent + 149));
        return uint32(uint256(exponent + 127) << 23);
    }

    function adds(uint32 w, uint32 x, uint32 sum) internal pure {
        same(Grid.add(w, x), sum, "sum");
        same(Grid.add(x, w), sum, "either way round");
        if (sum != 0) same(Grid.add(w ^ SIGN, x ^ SIGN), sum ^ SIGN, "with the other signs");
    }

    // ------------------------------------------------------------------------------------------------------- toInteger

    function test_toInteger_takes_positive_zero_alone() public pure {
        for (uint256 s = 0; s <= 126; ++s) {
            isOn(0, uint8(s), 0);
            isOff(SIGN, uint8(s));
        }
    }

    function test_toInteger_refuses_subnormals_infinities_and_what_is_no_number(uint32 bits, uint8 gridBits)
        public
        pure
    {
        gridBits = uint8(within(gridBits, 0, 126));
        isOff((bits & (SIGN | 0x7fffff)) | 1, gridBits);
        isOff(bits | INFINITY, gridBits);
    }

    function test_toInteger_gives_back_each_integer(int256 q, uint8 gridBits) public pure {
        gridBits = uint8(within(gridBits, 0, 126));
        q = int256(within(uint256(q), 0, uint256(2 * LIMIT))) - LIMIT;
        isOn(Trees.float32(q, gridBits), gridBits, q);
    }

    function test_toInteger_gives_back_the_ends_of_the_grid() public pure {
        for (uint256 s = 0; s <= 126; ++s) {
            int256[4] memory ends = [LIMIT, LIMIT - 1, int256(1), int256(3)];
            for (uint256 i = 0; i < 4; ++i) {
                isOn(Trees.float32(ends[i], uint8(s)), uint8(s), ends[i]);
                isOn(Trees.float32(-ends[i], uint8(s)), uint8(s), -ends[i]);
            }
        }
    }

    function test_toInteger_refuses_what_lies_beyond_the_grid() public pure {
        for (uint256 s = 0; s <= 126; ++s) {
            uint32 end = power(24 - int256(s));
            isOn(end, uint8(s), LIMIT);
            isOff(end + 1, uint8(s));
            isOff((end + 1) | SIGN, uint8(s));
            isOff(power(25 - int256(s)), uint8(s));
            isOff(LARGEST, uint8(s));
        }
    }

    function test_toInteger_refuses_what_lies_between_two_points(uint32 q, uint8 gridBits) public pure {
        // Odd on the finer grid, so halfway between two points of the coarser one.
        gridBits = uint8(within(gridBits, 1, 126));
        q = uint32(within(q, 1, (1 << 24) - 1)) | 1;
        uint32 bits = Trees.float32(int256(uint256(q)), gridBits);
        isOn(bits, gridBits, int256(uint256(q)));
        isOff(bits, gridBits - 1);
    }

    function test_toInteger_refuses_what_is_smaller_than_a_step() public pure {
        isOff(power(-1), 0);
        isOff(power(-25), 24);
        isOff(power(-126), 125);
        isOn(power(-126), 126, 1);
    }

    function test_toInteger_agrees_with_the_value_for_any_bits(uint32 bits, uint8 gridBits) public pure {
        gridBits = uint8(within(gridBits, 0, 126));
        (bool canonical, int256 q) = Grid.toInteger(bits, gridBits);
        if (canonical) same(Trees.float32(q, gridBits), bits, "there and back");
        else check(q == 0, "no integer");
    }

    // ------------------------------------------------------------------------------------------------------------ mean

    function isMean(int256 sum, uint256 weight) internal pure {
        int256 mean = Grid.mean(sum, weight);
        int256 off = 2 * (mean * int256(weight) - sum);
        if (off < 0) off = -off;
        check(off <= int256(weight), "the nearest integer");
        if (off == int256(weight)) check(mean % 2 == 0, "ties to even");
        check(Grid.mean(-sum, weight) == -mean, "odd");
    }

    function test_mean_is_the_nearest_integer_and_even_on_ties(int256 sum, uint256 weight) public pure {
        weight = within(weight, 1, 1 << 28);
        isMean(int256(within(uint256(sum), 0, weight << 25)) - int256(weight << 24), weight);
    }

    function test_mean_at_and_beside_every_tie(uint256 weight, uint256 k) public pure {
        weight = within(weight, 1, 1 << 27) * 2;
        k = within(k, 0, 1 << 24);
        int256 tie = int256(weight * k + weight / 2);
        for (int256 beside = -1; beside <= 1; ++beside) {
            isMean(tie + beside, weight);
        }
    }

    function test_mean_of_small_sums_by_hand() public pure {
        int256[7] memory sums = [int256(0), 1, 2, 3, 5, 6, 7];
        int256[7] memory halves = [int256(0), 0, 1, 2, 2, 3, 4];
        for (uint256 i = 0; i < 7; ++i) {
            check(Grid.mean(sums[i], 2) == halves[i], "half");
            check(Grid.mean(-sums[i], 2) == -halves[i], "minus half");
        }
        check(Grid.mean(5, 3) == 2 && Grid.mean(4, 3) == 1, "thirds");
        check(Grid.mean(int256(1) << 60, 1) == int256(1) << 60, "weight one");
    }

    // ------------------------------------------------------------------------------------------------------------- add

    function test_add_of_zeros() public pure {
        adds(0, 0, 0);
        same(Grid.add(SIGN, 0), 0, "-0.0 + 0.0 is +0.0");
        same(Grid.add(SIGN, ONE), ONE, "-0.0 + 1");
        adds(ONE, 0, ONE);
        adds(1, 0, 1);
        adds(LARGEST, 0, LARGEST);
    }

    function test_add_of_opposites_is_positive_zero(uint32 x) public pure {
        x = uint32(within(x, 1, LARGEST));
        same(Grid.add(x, x ^ SIGN), 0, "x - x");
        same(Grid.add(x ^ SIGN, x), 0, "-x + x");
    }

    function test_add_of_integers_is_their_sum(int32 w, int32 x) public pure {
        int256 left = w / 256;
        int256 right = x / 256;
        same(
            Grid.add(Trees.float32(left, 0), Trees.float32(right, 0)),
            Trees.float32(left + right, 0),
            "integers below 2^24"
        );
    }

    function test_add_of_subnormals_is_exact(uint32 w, uint32 x) public pure {
        w = uint32(within(w, 1, 0x7fffff));
        x = uint32(within(x, 1, 0x7fffff));
        adds(w, x, w + x); // where it becomes normal, the bits carry over by themselves
        if (w > x) adds(w, x | SIGN, w - x);
    }

    function test_add_at_the_edge_of_subnormals() public pure {
        adds(0x00800000, 1, 0x00800001);
        adds(0x00800000, SIGN | 1, 0x007fffff);
        adds(0x01000000, SIGN | 1, 0x00ffffff); // below 2^-125 floats still lie 2^-149 apart
        adds(0x01800000, SIGN | 1, 0x01800000); // 2^-124 - 2^-149: a tie, and 2^-124 is the even one
        adds(0x01800000, SIGN | 2, 0x017fffff);
        adds(0x01800000, SIGN | 3, 0x017ffffe);
    }

    function test_add_rounds_ties_to_even() public pure {
        adds(ONE, power(-24), ONE); // a tie between 1 and 1 + 2^-23
        adds(ONE + 1, power(-24), ONE + 2);
        adds(ONE + 2, power(-24), ONE + 2);
        adds(ONE, power(-24) + 1, ONE + 1); // past the tie
        adds(ONE, power(-24) - 1, ONE);
        adds(ONE, SIGN | power(-25), ONE); // below 1 floats lie twice as close
        adds(ONE, SIGN | (power(-25) + 1), ONE - 1);
        adds(ONE, SIGN | power(-24), ONE - 1);
        adds(0x4b800000, ONE, 0x4b800000); // 2^24 + 1
        adds(0x4b800001, ONE, 0x4b800002); // 2^24 + 3
        adds(0x4bffffff, ONE, 0x4c000000); // carries into the next power of two
    }

    function test_add_past_a_tie_by_its_last_bit() public pure {
        adds(ONE, power(-24) | 1, ONE + 1); // 2^-24 + 2^-47
        adds(0x4b000001, 0x3f000001, 0x4b000002); // 2^23 + 1 and 1/2 + 2^-24
        adds(0x4e800001, 0x42800001, 0x4e800002); // 2^30 + 2^7 and 2^6 + 2^-17: the sum has 48 bits
        adds(0x53800001, 0x47800001, 0x53800002); // 2^40 + 2^17 and 2^16 + 2^-7
        adds(0x53800002, 0x47800001, 0x53800003); // the tie itself would go down
        adds(0x53800002, 0x47800000, 0x53800002);
    }

    function test_add_of_far_apart_gives_the_larger() public pure {
        for (int256 gap = 26; gap <= 100; ++gap) {
            // 1.5 * 2^60 lies far from its neighbours' halves, whatever is added.
            adds(0x5dc00000, power(60 - gap), 0x5dc00000);
            adds(0x5dc00000, power(60 - gap) | SIGN, 0x5dc00000);
            adds(0x5dc00000, (power(60 - gap) | 0x7fffff), 0x5dc00000);
        }
    }

    function test_add_below_a_power_of_two_of_far_apart() public pure {
        // The float before 2^60 is 2^60 - 2^36: less than a quarter of that is nothing, from a half on it counts.
        for (int256 gap = 24; gap <= 90; ++gap) {
            uint32 less = power(60 - gap) | SIGN;
            uint32 expected = gap > 24 ? power(60) : power(60) - 1;
            adds(power(60), less, expected);
        }
        adds(power(60), (power(35) + 1) | SIGN, power(60) - 1); // past the tie by 2^-23 of it
    }

    function test_add_of_gaps_at_the_shortcut() public pure {
        // Exponents 64 and 65 apart, the widest that are added and the narrowest that are not.
        for (int256 gap = 63; gap <= 67; ++gap) {
            adds(power(0), power(-gap) | 0x7fffff, power(0));
            adds(power(0), power(-gap) | 0x7fffff | SIGN, power(0));
            adds(LARGEST, power(127 - gap), LARGEST);
        }
        // The narrowest with a subnormal, whose exponent counts as 1.
        adds(power(-61), 0x7fffff, power(-61));
        adds(power(-61), SIGN | 1, power(-61));
    }

    function test_add_cancels_exactly() public pure {
        adds(ONE + 1, ONE | SIGN, power(-23));
        adds(ONE, (ONE - 1) | SIGN, power(-24));
        adds(0x00800001, 0x00800000 | SIGN, 1);
        adds(LARGEST, (LARGEST - 1) | SIGN, power(104));
        adds(power(30), (power(30) - 1) | SIGN, power(6));
    }

    function test_add_overflows_to_infinity() public pure {
        adds(LARGEST, LARGEST, INFINITY);
        adds(LARGEST, power(104), INFINITY); // to 2^128
        adds(LARGEST, power(103), INFINITY); // a tie, and 2^128 is the even one
        adds(LARGEST, power(103) - 1, LARGEST);
        adds(LARGEST, power(102), LARGEST);
        adds(power(127), power(127), INFINITY);
        adds(power(127), power(126), 0x7f400000);
    }

    function test_add_is_monotone_and_symmetric(uint32 w, uint32 x) public pure {
        (w, x) = (w & ~INFINITY | (w % 200 << 23), x & ~INFINITY | (x % 200 << 23));
        uint32 sum = Grid.add(w, x);
        same(Grid.add(x, w), sum, "symmetric");
        if (sum != 0) same(Grid.add(w ^ SIGN, x ^ SIGN), sum ^ SIGN, "odd");
        uint32 more = Grid.add(w, x & SIGN == 0 ? x + 1 : x == SIGN ? 0 : x - 1);
        check(ordered(sum) <= ordered(more), "monotone");
    }

    /// @dev Floats as integers in the same order; both zeros are 0.
    function ordered(uint32 bits) internal pure returns (int256) {
        int256 magnitude = int256(uint256(bits & ~SIGN));
        return bits & SIGN == 0 ? magnitude : -magnitude;
    }

    // ------------------------------------------------------------------------------------------------------------ step

    function steps(uint32 w, int256 d, int256 k, uint32 next) internal pure {
        same(Grid.step(w, d, k), next, "step");
        if (next != 0) same(Grid.step(w ^ SIGN, -d, k), next ^ SIGN, "with the other signs");
    }

    function test_step_of_nothing_leaves_the_weight(uint32 w, int256 k) public pure {
        w = uint32(within(w, 1, LARGEST));
        k = int256(within(uint256(k), 0, 252)) - 149;
        steps(w, 0, k, w);
        same(Grid.step(SIGN, 0, k), 0, "-0.0 becomes +0.0");
        same(Grid.step(0, 0, k), 0, "+0.0");
    }

    function test_step_is_the_sum_where_the_step_is_a_normal_float32(uint32 w, int256 d, uint8 gridBits) public pure {
        gridBits = uint8(within(gridBits, 0, 126));
        d = int256(within(uint256(d), 0, uint256(2 * LIMIT))) - LIMIT;
        w = w & ~INFINITY | (w % 250 << 23);
        uint32 sum = Grid.add(w, Trees.float32(d, gridBits));
        same(Grid.step(w, d, -int256(uint256(gridBits))), sum, "as add");
    }

    function test_step_from_zero_is_the_step() public pure {
        for (int256 k = -149; k <= 103; ++k) {
            steps(0, 1, k, power(k));
            steps(0, LIMIT, k, power(k + 24));
            steps(SIGN, 1, k, power(k));
            if (k == -149) continue;
            steps(0, 3, k - 1, power(k) + (k >= -126 ? uint32(1 << 22) : uint32(1 << uint256(k + 148))));
        }
    }

    function test_step_and_back_where_nothing_is_rounded() public pure {
        steps(ONE, 1, -23, ONE + 1);
        steps(ONE + 1, -1, -23, ONE);
        steps(1, -1, -149, 0);
        steps(power(-126), -1, -149, 0x007fffff);
        steps(power(127), -LIMIT, 103, 0);
    }

    function test_step_rounds_ties_to_even() public pure {
        steps(ONE, 1, -24, ONE);
        steps(ONE + 1, 1, -24, ONE + 2);
        steps(ONE, 3, -25, ONE + 1);
        steps(ONE, (1 << 22) + 1, -46, ONE + 1); // past the tie by 2^-46
    }

    function test_step_of_few_bits_beside_a_weight_far_away() public pure {
        for (int256 gap = 24; gap <= 120; ++gap) {
            // d = 1 has the exponent of its last bit: far above w's, though it is one bit itself.
            steps(power(-60) | 1, 1, gap - 60, gap == 24 ? power(gap - 60) + 1 : power(gap - 60));
            steps(power(60), 1, 60 - 1 - gap, power(60));
        }
        steps(power(-60) | 1, 1, -37, power(-37) + 1); // 2^-60 is the last place of 2^-37
        steps(1, 1, 103, power(103));
        steps(LARGEST, 1, -149, LARGEST);
    }

    function test_step_saturates() public pure {
        steps(LARGEST, LIMIT, 103, LARGEST);
        steps(LARGEST, 1, 103, LARGEST); // a tie with 2^128
        steps(LARGEST, 1, 102, LARGEST);
        steps(LARGEST, -1, 103, LARGEST - 1); // half a unit less, and its last bit is odd
        steps(power(127), LIMIT - 1, 103, LARGEST);
        steps(power(127), LIMIT, 103, LARGEST);
    }

    // -------------------------------------------------------------------------------------------------------- isFinite

    function test_isFinite() public pure {
        uint32[6] memory finite = [uint32(0), SIGN, 1, ONE, LARGEST, LARGEST | SIGN];
        for (uint256 i = 0; i < finite.length; ++i) {
            check(Grid.isFinite(finite[i]), "finite");
        }
        uint32[4] memory rest = [INFINITY, INFINITY | SIGN, INFINITY + 1, type(uint32).max];
        for (uint256 i = 0; i < rest.length; ++i) {
            check(!Grid.isFinite(rest[i]), "not finite");
        }
    }
}
