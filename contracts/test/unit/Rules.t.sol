// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Rules} from "../../Rules.sol";
import {Plan} from "../../interfaces/ICairn.sol";
import {SegmentKind} from "../../interfaces/IChallenges.sol";
import {IRules, RuleSet, Scalars, Shape} from "../../interfaces/IRules.sol";
import {Programs} from "../../rules/Programs.sol";
import {Book, RuleBook} from "../support/RuleBook.sol";
import {Test} from "../support/Test.sol";
import {Trees} from "../support/Trees.sol";

contract RulesTest is Test {
    Rules internal rules = new Rules();

    function simple() internal pure returns (bytes memory) {
        return RuleBook.encode(RuleBook.simple(40, 24));
    }

    function refuses(bytes memory given, bytes memory reason) internal view {
        (bool done, bytes memory answer) = address(rules).staticcall(abi.encodeCall(rules.requireValid, (given)));
        check(!done, "refused");
        same(keccak256(answer), keccak256(reason), "for the reason expected");
    }

    function badRules(uint256 offset) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IRules.BadRules.selector, offset);
    }

    // ----------------------------------------------------------------------------------------------------- requirePlan

    /// @dev What else it refuses stands in `Plans.t.sol`.
    function test_requirePlan_takes_the_rules_that_the_plan_names_and_no_others(uint8 place) public view {
        Plan memory plan;
        bytes memory given = simple();
        plan.rulesHash = keccak256(given);
        (plan.quorum, plan.weightCap, plan.minContributions) = (1, 1, 1);
        (plan.commitDuration, plan.publishDuration, plan.aggregateDuration) = (30, 30, 30);
        (plan.challengeDuration, plan.answerDuration) = (960, 30);
        rules.requirePlan(plan, given);
        given[place % given.length] ^= 0x01;
        (bool done, bytes memory answer) = address(rules).staticcall(abi.encodeCall(rules.requirePlan, (plan, given)));
        bytes memory reason = abi.encodeWithSelector(IRules.OtherRules.selector, keccak256(given), plan.rulesHash);
        check(!done && keccak256(answer) == keccak256(reason), "others");
    }

    // ---------------------------------------------------------------------------------------------------- requireValid

    function test_requireValid_takes_every_bound() public view {
        Book memory b = RuleBook.simple(1, 0);
        rules.requireValid(RuleBook.encode(b));
        (b.values, b.gridBits, b.combineRule, b.shape) = ((1 << 40) - 1, 126, type(uint16).max, Shape.Select);
        b.parameters = new int64[](8);
        (b.parameters[0], b.parameters[7]) = (type(int64).min, type(int64).max);
        b.uniform = true;
        rules.requireValid(RuleBook.encode(b));
        same(rules.MAX_GRID_BITS(), 126, "grid");
        same(rules.MAX_VALUES(), (1 << 40) - 1, "values");
        same(rules.MAX_PARAMETERS(), 8, "parameters");
        same(rules.MAX_HOOKS(), 4, "hooks");
    }

    function test_requireValid_says_where_rules_end_too_early(uint8 length) public view {
        bytes memory whole = simple();
        bytes memory cut = new bytes(within(length, 0, 81));
        for (uint256 i = 0; i < cut.length; ++i) {
            cut[i] = whole[i];
        }
        refuses(cut, badRules(cut.length));
        whole[80] = bytes1(uint8(8)); // parameters that are not there
        refuses(whole, badRules(whole.length));
    }

    function test_requireValid_names_the_field_that_is_not_allowed() public view {
        uint8[2][8] memory spoilt = [
            [uint8(0), 2], [uint8(0), 0], [uint8(3), 0], [uint8(3), 5], [uint8(6), 2], [uint8(7), 127], [uint8(80), 9],
            [uint8(80), 255]
        ];
        for (uint256 i = 0; i < spoilt.length; ++i) {
            bytes memory given = simple();
            given[spoilt[i][0]] = bytes1(spoilt[i][1]);
            refuses(given, badRules(spoilt[i][0]));
        }
        bytes memory zeros = simple();
        zeros[2] = 0;
        refuses(zeros, badRules(1));
        zeros = simple();
        zeros[5] = 0;
        refuses(zeros, badRules(4));
        Book memory b = RuleBook.simple(0, 24);
        refuses(RuleBook.encode(b), badRules(8));
        b.values = 1 << 40;
        refuses(RuleBook.encode(b), badRules(8));
    }

    function test_requireValid_asks_columns_for_what_is_left_out(bool selected) public view {
        Book memory b = RuleBook.simple(5, 24);
        b.shape = selected ? Shape.SelectColumns : Shape.Columns;
        refuses(RuleBook.encode(b), badRules(80));
        b.parameters = new int64[](2);
        int64[3] memory good = [int64(0), 21_845, 1 << 15];
        for (uint256 i = 0; i < good.length; ++i) {
            b.parameters[0] = good[i];
            rules.requireValid(RuleBook.encode(b));
        }
        int64[4] memory bad = [int64(-1), (1 << 15) + 1, type(int64).min, type(int64).max];
        for (uint256 i = 0; i < bad.length; ++i) {
            b.parameters[0] = bad[i];
            refuses(RuleBook.encode(b), badRules(81));
        }
    }

    function test_requireValid_refuses_every_shorter_and_longer_one() public view {
        Book memory b = RuleBook.simple(40, 24);
        b.parameters = new int64[](2);
        b.program = RuleBook.MOMENTUM;
        bytes memory whole = RuleBook.encode(b);
        rules.requireValid(whole);
        for (uint256 length = 0; length < whole.length; ++length) {
            bytes memory part = new bytes(length);
            for (uint256 i = 0; i < length; ++i) {
                part[i] = whole[i];
            }
            (bool done,) = address(rules).staticcall(abi.encodeCall(rules.requireValid, (part)));
            check(!done, "too short");
        }
        (bool taken,) =
            address(rules).staticcall(abi.encodeCall(rules.requireValid, (bytes.concat(whole, bytes1(0)))));
        check(!taken, "too long");
    }

    function test_requireValid_refuses_a_program_that_is_none() public view {
        Book memory b = RuleBook.simple(40, 24);
        b.program = hex"0000000005"; // the step is register 5, and there are five
        refuses(
            RuleBook.encode(b),
            abi.encodeWithSelector(Programs.BadProgramNumber.selector, uint256(4), int256(5), int256(0), int256(4))
        );
    }

    // ------------------------------------------------------------------------------------------------------------ read

    function test_read_says_what_was_encoded(
        uint16 rule,
        uint8 shape,
        uint8 gridBits,
        uint64 values,
        bool uniform,
        int64[3] memory parameters,
        uint8 count
    ) public view {
        Book memory b = RuleBook.simple(values, gridBits);
        (b.combineRule, b.shape, b.uniform) = (rule, Shape(within(shape, 1, 4)), uniform);
        b.parameters = new int64[](count % 4);
        for (uint256 i = 0; i < b.parameters.length; ++i) {
            b.parameters[i] = parameters[i];
        }
        b.program = RuleBook.MOMENTUM;
        b.segments = RuleBook.segmentsOf(3, 40, SegmentKind.Buffer);
        RuleSet memory found = rules.read(RuleBook.encode(b));
        RuleSet memory expected = RuleSet({
            combineRule: b.combineRule,
            shape: b.shape,
            updateForm: 1,
            uniform: b.uniform,
            gridBits: b.gridBits,
            values: b.values,
            header: "header",
            segments: Trees.rootOf(b.segments),
            parameters: b.parameters,
            states: 1,
            fractionBits: 0
        });
        same(keccak256(abi.encode(found)), keccak256(abi.encode(expected)), "read");
    }

    // -------------------------------------------------------------------------------------------------------- layoutOf

    function test_layoutOf_is_zero_without_state() public view {
        same(rules.layoutOf(simple()), 0, "layout");
    }

    function test_layoutOf_names_grid_segments_and_states_and_nothing_else() public view {
        Book memory b = RuleBook.simple(40, 24);
        b.program = RuleBook.MOMENTUM;
        bytes32 kept = rules.layoutOf(RuleBook.encode(b));
        b.gridBits = 23;
        check(rules.layoutOf(RuleBook.encode(b)) != kept, "grid");
        b.gridBits = 24;
        b.segments = RuleBook.segmentsOf(1, 40, SegmentKind.Parameter);
        check(rules.layoutOf(RuleBook.encode(b)) != kept, "segments");
        b.segments = RuleBook.segmentsOf(0, 40, SegmentKind.Parameter);
        for (uint256 i = 0; i < 24; ++i) {
            b.program = bytes.concat(RuleBook.MOMENTUM);
            b.program[1 + i] ^= 0x01;
            check(rules.layoutOf(RuleBook.encode(b)) != kept, "bounds and initial value");
        }
        b.program = bytes.concat(RuleBook.MOMENTUM);
        b.program[25] = 0x01; // fraction bits
        (b.combineRule, b.shape, b.uniform) = (2, Shape.Columns, true);
        same(rules.layoutOf(RuleBook.encode(b)), kept, "and nothing else");
    }

    // ------------------------------------------------------------------------------------------------------ serverStep

    function test_serverStep_runs_the_program_from_the_states_given() public view {
        Book memory b = RuleBook.simple(40, 24);
        b.program = RuleBook.MOMENTUM;
        bytes memory encoded = RuleBook.encode(b);
        int256[] memory state = rules.initialStates(encoded);
        same(state.length, 1, "states");
        check(state[0] == 6, "initial");
        Scalars memory scalars = Scalars(1, 3, 18, 0);
        int256 d;
        (d, state) = rules.serverStep(encoded, 5, state, scalars);
        check(d == 8 && state[0] == 8, "6 / 2 + 5");
        (d, state) = rules.serverStep(encoded, -13, state, scalars);
        check(d == -9 && state[0] == -9, "8 / 2 - 13");
        (d, state) = rules.serverStep(encoded, 0, state, scalars);
        check(d == -5 && state[0] == -5, "rounded down");
        state[0] = 1 << 41;
        (d, state) = rules.serverStep(encoded, 0, state, scalars);
        check(d == 1 << 24 && state[0] == 1 << 40, "clamped, and saturated");
    }

    function test_serverStep_reads_the_scalars_of_the_round(uint32 scalar) public view {
        Book memory b = RuleBook.simple(40, 24);
        b.program = bytes.concat(RuleBook.FEDAVG);
        uint256 which = scalar % 4;
        b.program[4] = bytes1(uint8(1 + which));
        uint32 value = uint32(within(scalar, 1, 1 << 24));
        Scalars memory scalars;
        if (which == 0) scalars.step = value;
        if (which == 1) scalars.contributions = value;
        if (which == 2) scalars.totalWeight = value;
        if (which == 3) scalars.totalSteps = value;
        (int256 d,) = rules.serverStep(RuleBook.encode(b), 0, new int256[](0), scalars);
        check(d == int256(uint256(value)), "scalar");
    }
}
