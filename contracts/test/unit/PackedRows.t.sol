// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Shape} from "../../interfaces/IRules.sol";
import {IRules} from "../../interfaces/IRules.sol";
import {IChallenges} from "../../interfaces/IChallenges.sol";
import {Demanded, Fault, Part} from "../../interfaces/ICourt.sol";
import {Counted, IDisputed, Tree} from "../../interfaces/IDisputed.sol";
import {Demanding} from "../support/Demanding.sol";
import {Disputes, World} from "../support/Disputes.sol";
import {Book, RuleBook} from "../support/RuleBook.sol";
import {Streaming} from "../support/Streaming.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Updates whose rows are integers of 16 bits, or the largest two of them.
contract PackedRowsTest is Streaming, Demanding {
    uint256 private constant WHOLE = 513;
    uint256 private constant KEPT = 7;

    function setUp() public override(Disputes, Demanding) {
        Demanding.setUp();
    }

    /// @dev An honest round whose updates are packed; under `kept` their values but for the first two of a row are zero.
    function packed(uint256 values, bool kept) internal view returns (World memory w) {
        w = honest(values, 24);
        w.book.updateForm = 2;
        w.book.parameters = new int64[](2);
        (w.book.parameters[0], w.book.parameters[1]) = (16, kept ? int64(2) : int64(0));
        for (uint256 k = 0; k < 3; ++k) {
            uint256 rows = (values + 255) / 256;
            uint256 length = kept ? KEPT : WHOLE;
            w.updates[k].count = uint64(rows * length);
            for (uint256 i = 0; i < rows; ++i) {
                bytes memory row = new bytes(length);
                for (uint256 j = 0; j < (kept ? 2 : 256) && 256 * i + j < values; ++j) {
                    if (kept) row[1 + j] = bytes1(uint8(j));
                    put(row, (kept ? 3 : 1) + 2 * j, updateAt(k, 256 * i + j));
                }
                w.updates[k].data[i] = row;
            }
        }
    }

    /// @dev Little-endian.
    function put(bytes memory row, uint256 at, int256 value) internal pure {
        (row[at], row[at + 1]) = (bytes1(uint8(uint256(value))), bytes1(uint8(uint256(value) >> 8)));
    }

    function chunkOf(World memory w, uint64 coordinate) internal view returns (bytes memory) {
        return abi.encodeCall(
            challenges.convictChunk,
            (
                targetOf(w),
                basisOf(w),
                Tree.Contribution,
                member(w, 0),
                coordinate,
                Trees.openAt(w.updates[0], coordinate)
            )
        );
    }

    function sizeOf(World memory w, uint256 k) internal view returns (bytes memory) {
        Counted memory counted = Trees.countedOf(w.updates[k]);
        return abi.encodeCall(challenges.convictSize, (targetOf(w), basisOf(w), Tree.Contribution, counted, member(w, k)));
    }

    // ------------------------------------------------------------------------------------------------------- Aggregates

    function test_convictAggregate_reverts_on_every_right_value() public {
        World memory w = packed(300, false);
        dispute(w);
        uint16[4] memory coordinates = [0, 255, 256, 299];
        for (uint256 j = 0; j < 4; ++j) {
            uint64 place = coordinates[j];
            refuses(aggregateCall(w, place, zeros(), steps(w, place, 0, 3)), nothingWrong(Fault.Aggregate));
        }
    }

    function test_convictAggregate_convicts_another_value_in_one_go_or_one_by_one(bool kept, uint16 place) public {
        World memory w = packed(300, kept);
        uint64 coordinate = kept ? [0, 1, 256, 257][place % 4] : uint64(place % 300);
        Trees.setValue(w.aggregate, coordinate, Trees.float32(meanAt(coordinate) + 1, 24));
        dispute(w);
        for (uint256 k = 0; k < 2; ++k) {
            succeeds(CHALLENGER, addCall(w, coordinate, sumOf(w, coordinate, k), steps(w, coordinate, k, k + 1)));
        }
        bytes memory call = aggregateCall(w, coordinate, sumOf(w, coordinate, 2), steps(w, coordinate, 2, 3));
        convicts(w, Fault.Aggregate, Part.Values, coordinate / 256, call);
    }

    function test_what_a_row_does_not_keep_counts_as_zero() public {
        World memory w = packed(300, true);
        Trees.setValue(w.aggregate, 258, 0);
        Trees.setValue(w.aggregate, 2, Trees.float32(1, 24));
        dispute(w);
        refuses(aggregateCall(w, 258, zeros(), steps(w, 258, 0, 3)), nothingWrong(Fault.Aggregate));
        convicts(w, Fault.Aggregate, Part.Values, 0, aggregateCall(w, 2, zeros(), steps(w, 2, 0, 3)));
    }

    function test_a_value_that_no_update_may_hold_is_left_to_convictChunk() public {
        World memory w = packed(300, false);
        put(w.updates[1].data[1], 1 + 2 * 3, -32_768);
        dispute(w);
        bytes memory reason = abi.encodeWithSelector(IChallenges.NotOnGrid.selector, uint64(259));
        refuses(aggregateCall(w, 259, zeros(), steps(w, 259, 0, 3)), reason);
        refuses(aggregateCall(w, 260, zeros(), steps(w, 260, 0, 3)), nothingWrong(Fault.Aggregate));
    }

    // ------------------------------------------------------------------------------------------------------------- Rows

    function test_convictChunk_reverts_on_every_canonical_row(bool kept) public {
        World memory w = packed(300, kept);
        dispute(w);
        refuses(chunkOf(w, 0), nothingWrong(Fault.Chunk));
        refuses(chunkOf(w, 256), nothingWrong(Fault.Chunk));
        refuses(chunkOf(w, 511), nothingWrong(Fault.Chunk));
    }

    function test_convictChunk_convicts_every_other_row(uint8 what) public {
        what = uint8(within(what, 0, 8));
        World memory w = packed(300, what > 3);
        bytes memory row = w.updates[0].data[1];
        if (what == 0) put(row, 1, -32_768);
        if (what == 1) row[0] = 0x01; // no mantissa is 2^14 or more
        if (what == 2) (row[0], row[1], row[2]) = (0x0b, 0xff, 0x7f);
        if (what == 3) put(row, 1 + 2 * 44, 1); // past coordinate 299
        if (what == 4) (row[1], row[2]) = (0x01, 0x00);
        if (what == 5) row[2] = 0x00;
        if (what == 6) put(row, 3, 0);
        if (what == 7) put(row, 5, 0);
        if (what == 8) row[2] = bytes1(uint8(44));
        dispute(w);
        convicts(w, Fault.Chunk, Part.Values, 1, chunkOf(w, 256));
    }

    function test_convictChunk_convicts_a_row_of_another_length() public {
        World memory w = packed(300, true);
        w.updates[0].data[0] = new bytes(KEPT + 1);
        dispute(w);
        convicts(w, Fault.Chunk, Part.Values, 0, chunkOf(w, 3));
    }

    function test_convictSize_counts_the_bytes_of_rows(bool kept, bool more) public {
        World memory w = packed(300, kept);
        w.updates[1].count = more ? w.updates[1].count + 1 : 300;
        dispute(w);
        refuses(sizeOf(w, 0), nothingWrong(Fault.Size));
        convicts(w, Fault.Size, Part.Whole, 0, sizeOf(w, 1));
    }

    function test_unpack_reads_one_coordinate_or_judges_the_row(int16 value, uint8 place) public view {
        World memory w = packed(300, false);
        bytes memory rules = RuleBook.encode(w.book);
        bytes memory row = new bytes(WHOLE);
        put(row, 1 + 2 * uint256(place), value);
        (bool canonical, int256 q) = cairn.RULES().unpack(rules, row, place, false);
        check(canonical == (value != type(int16).min) && (!canonical || q == value), "read");
        row[0] = 0x01;
        (canonical, q) = cairn.RULES().unpack(rules, row, place, false);
        if (value != type(int16).min) check(canonical && q == 2 * int256(value), "scaled");
        (canonical,) = cairn.RULES().unpack(rules, row, place, true);
        check(canonical == (value >= 1 << 14 || (value <= -(1 << 14) && value != type(int16).min)), "judged");
    }

    function test_unpack_reads_both_halves_of_a_byte() public view {
        World memory w = packed(300, false);
        w.book.parameters[0] = 4;
        bytes memory rules = RuleBook.encode(w.book);
        bytes memory row = new bytes(129);
        row[1] = 0x97;
        for (uint64 place = 0; place < 2; ++place) {
            (bool canonical, int256 q) = cairn.RULES().unpack(rules, row, place, true);
            check(canonical && q == (place == 0 ? int256(7) : int256(-7)), "half");
        }
    }

    // ---------------------------------------------------------------------------------------------------------- Demands

    function test_a_row_is_demanded_by_its_bytes_and_shown(bool kept) public {
        World memory w = packed(300, kept);
        dispute(w);
        succeeds(CHALLENGER, chunkCall(w, Tree.Contribution, 1));
        uint16 entries = uint16(kept ? KEPT : WHOLE);
        Demanded memory d = Demanded(roundId(current), tally(w), w.list[1].tensorRoot, 1, entries, 1);
        succeeds(STRANGER, showCall(d, Trees.open(w.updates[1], 1)));
        check(court.demand(d).answered, "shown");
    }

    function test_rows_are_not_demanded_by_other_rules() public {
        World memory w = packed(300, false);
        dispute(w);
        bytes32 expected = keccak256(RuleBook.encode(w.book));
        w.book.parameters[1] = 2;
        bytes32 given = keccak256(RuleBook.encode(w.book));
        bytes memory reason = abi.encodeWithSelector(IDisputed.OtherBasis.selector, given, expected);
        refuses(chunkCall(w, Tree.Contribution, 1), reason);
    }

    // ------------------------------------------------------------------------------------------------------------ Plans

    function refusesRules(Book memory b, uint256 offset) internal view {
        IRules rules = cairn.RULES();
        bytes memory given = RuleBook.encode(b);
        (bool done, bytes memory answer) = address(rules).staticcall(abi.encodeCall(rules.requireValid, (given)));
        check(!done, "refused");
        same(keccak256(answer), keccak256(abi.encodeWithSelector(IRules.BadRules.selector, offset)), "where");
    }

    function test_a_plan_takes_the_layouts_that_there_are_and_no_others(int64 bits, int64 kept) public view {
        Book memory b = RuleBook.simple(300, 24);
        b.updateForm = 2;
        b.parameters = new int64[](2);
        int64[3] memory widths = [int64(4), 8, 16];
        for (uint256 i = 0; i < 3; ++i) {
            (b.parameters[0], b.parameters[1]) = (widths[i], 0);
            cairn.RULES().requireValid(RuleBook.encode(b));
            b.parameters[1] = 128;
            if (i == 0) refusesRules(b, 81);
            else cairn.RULES().requireValid(RuleBook.encode(b));
            b.parameters[1] = 129;
            refusesRules(b, 81);
        }
        bool known = (bits == 8 || bits == 16) && kept >= 0 && kept <= 128;
        (b.parameters[0], b.parameters[1]) = (bits, kept);
        if (!known && !(bits == 4 && kept == 0)) refusesRules(b, 81);
    }

    function test_a_plan_of_rows_says_how_they_are_packed() public view {
        Book memory b = RuleBook.simple(300, 24);
        b.updateForm = 2;
        for (uint256 count = 0; count < 2; ++count) {
            b.parameters = new int64[](count);
            refusesRules(b, 80);
        }
        (b.shape, b.parameters) = (Shape.Columns, new int64[](2));
        refusesRules(b, 80);
    }

    function test_rules_that_order_values_take_no_rows_of_the_largest(bool select) public view {
        Book memory b = RuleBook.simple(300, 24);
        (b.updateForm, b.shape) = (2, select ? Shape.SelectColumns : Shape.Columns);
        b.parameters = new int64[](3);
        (b.parameters[0], b.parameters[1], b.parameters[2]) = (1 << 15, 8, 0);
        cairn.RULES().requireValid(RuleBook.encode(b));
        b.parameters[2] = 8;
        refusesRules(b, 97);
        b.shape = Shape.Select;
        cairn.RULES().requireValid(RuleBook.encode(b));
    }
}
