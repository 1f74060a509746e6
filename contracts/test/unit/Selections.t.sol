// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges, Segment, SegmentKind} from "../../interfaces/IChallenges.sol";
import {Demanded, Fault, Part} from "../../interfaces/ICourt.sol";
import {Contribution, Counted, HeadKind, IDisputed, Opening} from "../../interfaces/IDisputed.sol";
import {ISelections, Product, Selection} from "../../interfaces/ISelections.sol";
import {World} from "../support/Disputes.sol";
import {RuleBook} from "../support/RuleBook.sol";
import {Selecting} from "../support/Selecting.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Inner products and the selection that follows from them, as honest people and as liars report them.
contract SelectionsTest is Selecting {
    function twoScales(uint256 values) internal pure returns (Leaves memory segments) {
        segments = RuleBook.segmentsOf(3, 10, SegmentKind.Parameter);
        RuleBook.append(segments, 10, 5, 0, SegmentKind.Buffer);
        RuleBook.append(segments, 15, uint64(values - 15), 1, SegmentKind.Parameter);
    }

    function badLength(uint256 given, uint256 expected) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputed.BadLength.selector, given, expected);
    }

    function badSegment(uint64 first, uint64 length) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.BadSegment.selector, first, length);
    }

    function otherRoot(bytes32 given, bytes32 expected) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.OtherList.selector, given, expected);
    }

    // --------------------------------------------------------------------------------------------------- convictProduct

    function test_convictProduct_convicts_any_false_sum_and_no_true_one(uint256 seed, uint8 size, int64 by) public {
        vm.assume(by != 0);
        uint256 values = 16 + size % 60;
        World memory w = honest(values, BITS);
        for (uint256 i = 0; i < 8; ++i) {
            uint256 drawn = uint256(keccak256(abi.encode(seed, i)));
            Trees.setValue(w.updates[i % 3], drawn % values, Trees.float32(int256(drawn >> 128) % (1 << 24), BITS));
        }
        w.book.segments = twoScales(values);
        finest = 2;
        selecting(w);
        Leaves memory sums = sumsOf(w);
        (uint256 left, uint256 right) = (seed % 3, (seed >> 8) % 3);
        bytes memory head = anchored(w, sums);
        refuses(productCall(w, head, productOf(w, sums, 0, left, right)), nothingWrong(Fault.Product));

        World memory liar = w;
        selecting(liar);
        falsify(sums, left, right, by);
        head = anchored(liar, sums);
        refuses(productCall(liar, head, productOf(liar, sums, 0, left, (right + 1) % 3)), nothingWrong(Fault.Product));
        convicts(
            liar, Fault.Product, Part.Whole, 0, productCall(liar, head, productOf(liar, sums, 0, left, right))
        );
    }

    function test_convictProduct_reads_rows_up_to_the_last_one() public {
        World memory w = honest(ROW + 300, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        for (uint64 row = 0; row < 2; ++row) {
            refuses(productCall(w, head, productOf(w, sums, row, 2, 1)), nothingWrong(Fault.Product));
        }
        selecting(w);
        falsify(sums, 3 + 2, 1, -1);
        head = anchored(w, sums);
        refuses(productCall(w, head, productOf(w, sums, 0, 2, 1)), nothingWrong(Fault.Product));
        convicts(w, Fault.Product, Part.Whole, 0, productCall(w, head, productOf(w, sums, 1, 2, 1)));
    }

    function test_convictProduct_takes_openings_of_this_round_alone() public {
        World memory w = honest(40, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        falsify(sums, 1, 1, 1);
        bytes memory head = anchored(w, sums);
        Product memory good = productOf(w, sums, 0, 1, 1);
        Product memory p = productOf(w, sums, 0, 1, 1);
        p.row = 1;
        refuses(productCall(w, head, p), badIndex(1, 1));
        p = productOf(w, sums, 0, 1, 1);
        p.sums.leaf = abi.encode(1, 2, 3);
        refuses(productCall(w, head, p), badProof(Trees.rootOf(sums), 1));
        p = productOf(w, sums, 0, 1, 1);
        p.sums.counted.count = 18;
        refuses(productCall(w, head, p), badIndex(18, 9));
        p = productOf(w, sums, 0, 1, 1);
        p.left.membership.contribution.factor = 7;
        refuses(productCall(w, head, p), badProof(w.result.contributionsRoot, 1));
        p = productOf(w, sums, 0, 1, 1);
        p.right.values[5] = ~p.right.values[5];
        refuses(productCall(w, head, p), badProof(w.list[1].tensorRoot, 0));
        p.right.values = bytes.concat(p.right.values, bytes4(0));
        refuses(productCall(w, head, p), badLength(164, 160));
        p = productOf(w, sums, 0, 1, 1);
        p.left = rowOf(w, 2, 0);
        refuses(productCall(w, head, p), badProof(Trees.rootOf(sums), 2)); // the leaf is another contribution's
        p = good;
        p.right.counted.count = 41;
        refuses(productCall(w, head, p), badCount(w.list[1].tensorRoot));
        p = productOf(w, sums, 0, 1, 1);
        p.right.membership.index = 3;
        refuses(productCall(w, head, p), badIndex(3, 3));
    }

    function test_convictProduct_reads_no_update_of_another_size() public {
        World memory w = honest(40, BITS);
        w.updates[1].count = 41;
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        refuses(productCall(w, head, productOf(w, sums, 0, 1, 0)), badIndex(41, 40));
    }

    function test_convictProduct_adds_to_no_leaf_of_another_length() public {
        World memory w = honest(ROW + 300, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        sums.data[2] = bytes.concat(sums.data[2], bytes32(0));
        bytes memory head = anchored(w, sums);
        refuses(productCall(w, head, productOf(w, sums, 1, 2, 1)), badLength(128, 96));
        convicts(w, Fault.Product, Part.Whole, 0, productCall(w, head, productOf(w, sums, 0, 2, 1)));
    }

    function test_convictProduct_asks_for_the_segments_of_the_row() public {
        World memory w = honest(40, BITS);
        w.book.segments = twoScales(40);
        finest = 2;
        selecting(w);
        Leaves memory sums = sumsOf(w);
        falsify(sums, 0, 0, 1);
        bytes memory head = anchored(w, sums);
        Product memory p = productOf(w, sums, 0, 0, 0);
        Segment[] memory all = p.segments;
        p.segments = new Segment[](2);
        (p.segments[0], p.segments[1]) = (all[0], all[1]);
        refuses(productCall(w, head, p), badIndex(15, 40));
        p.segments[1] = all[2];
        refuses(productCall(w, head, p), badSegment(15, 25));
        p.segments[1] = all[0];
        refuses(productCall(w, head, p), badSegment(0, 10));
        p = productOf(w, sums, 0, 0, 0);
        p.segments[1].kind = SegmentKind.Parameter;
        refuses(productCall(w, head, p), badProof(Trees.rootOf(w.book.segments), 1));
        p = productOf(w, sums, 0, 0, 0);
        p.finest = openSegment(w, 0);
        refuses(productCall(w, head, p), badIndex(0, 2));
        convicts(w, Fault.Product, Part.Whole, 0, productCall(w, head, productOf(w, sums, 0, 0, 0)));
    }

    function test_convictProduct_leaves_another_unit_to_convictFinest() public {
        World memory w = honest(40, BITS);
        w.book.segments = twoScales(40);
        selecting(w); // in the unit of segment 0, whose exponent is 3
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        Product memory p = productOf(w, sums, 0, 0, 0);
        refuses(productCall(w, head, p), abi.encodeWithSelector(IChallenges.BadExponent.selector, int256(1)));
        convicts(
            w, Fault.Gram, Part.Whole, 0, finestCall(w, head, openSegment(w, 0), openSegment(w, 2))
        );
    }

    function test_convictProduct_reverts_on_a_value_off_the_grid() public {
        World memory w = honest(40, BITS);
        Trees.setValue(w.updates[2], 7, 0x7f800000);
        selecting(w);
        Leaves memory sums = sumsOf(honest(40, BITS));
        bytes memory head = anchored(w, sums);
        bytes memory reason = abi.encodeWithSelector(IChallenges.NotOnGrid.selector, 0);
        refuses(productCall(w, head, productOf(w, sums, 0, 2, 1)), reason);
        refuses(productCall(w, head, productOf(w, sums, 0, 1, 2)), reason);
    }

    function test_convictProduct_convicts_a_leaf_of_another_length() public {
        World memory w = honest(40, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        sums.data[1] = bytes.concat(sums.data[1], bytes32(0));
        bytes memory head = anchored(w, sums);
        refuses(productCall(w, head, productOf(w, sums, 0, 0, 0)), nothingWrong(Fault.Product));
        convicts(w, Fault.Product, Part.Whole, 0, productCall(w, head, productOf(w, sums, 0, 1, 0)));
    }

    function test_convictProduct_reads_dense_updates_alone() public {
        World memory w = honest(40, BITS);
        w.book.updateForm = 7;
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        bytes memory reason = abi.encodeWithSelector(IChallenges.FormNotDisputable.selector, 7);
        refuses(productCall(w, head, productOf(w, sums, 0, 0, 0)), reason);
    }

    // ---------------------------------------------------------------------------------------------------- convictReport

    function test_convictReport_convicts_a_report_without_inner_products() public {
        World memory w = honest(40, BITS);
        selecting(w);
        bytes memory head = headed(w, "");
        refuses(gramSizeCall(w, head, Counted(9, 0)), abi.encodeWithSelector(ISelections.NoGramPart.selector));
        refuses(gramCall(w, head, 0), abi.encodeWithSelector(ISelections.NoGramPart.selector));
        refuses(headCall(targetOf(w), HeadKind.Report, nobody(), head), nothingWrong(Fault.Head));
        convicts(w, Fault.Gram, Part.Whole, 0, reportCall(w, head));
    }

    function test_convictReport_convicts_a_root_of_zero() public {
        World memory w = honest(40, BITS);
        selecting(w);
        bytes memory head = headed(w, abi.encode(bytes32(0), 0));
        convicts(w, Fault.Gram, Part.Whole, 0, reportCall(w, head));
    }

    function test_convictReport_convicts_inner_products_where_nothing_is_selected() public {
        World memory w = honest(40, BITS);
        anchor(w);
        bytes memory head = headed(w, abi.encode(bytes32("root"), 0));
        refuses(gramSizeCall(w, head, Counted(9, 0)), abi.encodeWithSelector(ISelections.NoGramPart.selector));
        convicts(w, Fault.Gram, Part.Whole, 0, reportCall(w, head));
    }

    function test_convictReport_convicts_no_honest_report(bool selects) public {
        World memory w = honest(40, BITS);
        bytes memory head;
        if (selects) {
            selecting(w);
            head = anchored(w, sumsOf(w));
        } else {
            anchor(w);
            head = headed(w, "");
        }
        refuses(reportCall(w, head), nothingWrong(Fault.Gram));
        refuses(headCall(targetOf(w), HeadKind.Report, nobody(), head), nothingWrong(Fault.Head));
        bytes memory other = bytes.concat(head, hex"00");
        bytes memory reason = abi.encodeWithSelector(IChallenges.OtherHead.selector, sha256(other), sha256(head));
        refuses(reportCall(w, other), reason);
    }

    function test_convictHead_convicts_any_other_byte_of_a_report_but_the_gram_part(uint16 place, uint8 by) public {
        vm.assume(by != 0);
        World memory w = honest(40, BITS);
        selecting(w);
        bytes memory head = selectionHead(w, current, abi.encode(bytes32("root"), 0));
        uint256 changed = place % (head.length - 32);
        head[changed] = bytes1(uint8(head[changed]) ^ by);
        w.result.reportDigest = sha256(head);
        agreed(w);
        bytes memory call = headCall(targetOf(w), HeadKind.Report, nobody(), head);
        if (changed >= 361 && changed < 425) refuses(call, nothingWrong(Fault.Head));
        else convicts(w, Fault.Head, Part.Whole, 0, call);
    }

    // -------------------------------------------------------------------------------------- convictGramSize and demands

    function test_convictGramSize_convicts_another_number_of_sums(uint8 count) public {
        vm.assume(count != 9);
        World memory w = honest(40, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        refuses(gramSizeCall(w, head, Trees.countedOf(sums)), nothingWrong(Fault.Size));
        refuses(gramSizeCall(w, head, Counted(8, 0)), badCount(Trees.rootOf(sums)));
        selecting(w);
        sums.count = count;
        head = anchored(w, sums);
        convicts(w, Fault.Size, Part.Whole, 0, gramSizeCall(w, head, Trees.countedOf(sums)));
    }

    function test_demanded_sums_are_shown_or_the_result_is_void() public {
        World memory w = honest(40, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        bytes memory other = bytes.concat(head, hex"00");
        bytes memory reason = abi.encodeWithSelector(IChallenges.OtherHead.selector, sha256(other), sha256(head));
        refuses(gramCall(w, other, 2), reason);
        succeeds(CHALLENGER, gramCall(w, head, 2));
        succeeds(CHALLENGER, gramCall(w, head, 3)); // past the end
        Demanded memory last = demandedSums(w, sums, 2);
        succeeds(STRANGER, showCall(last, Trees.open(sums, 2)));
        check(court.demand(last).answered, "shown");
        Opening memory nothing;
        nothing.counted = Trees.countedOf(sums);
        succeeds(STRANGER, showCall(demandedSums(w, sums, 3), nothing));
        succeeds(CHALLENGER, gramCall(w, head, 1));
        forward(ANSWER);
        convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(demandedSums(w, sums, 1)));
    }

    // ----------------------------------------------------------------------------------------------------- convictFinest

    function test_convictFinest_convicts_every_other_segment_and_none_of_the_finest(uint8 drawn) public {
        World memory w = honest(40, BITS);
        w.book.segments = twoScales(40);
        RuleBook.append(w.book.segments, 40, 0, 1, SegmentKind.Parameter); // as fine, and empty
        finest = [uint256(0), 1, 2, 3, 4, NO_SEGMENT, type(uint256).max][drawn % 7];
        selecting(w);
        bytes memory head = anchored(w, sumsOf(w));
        Segment memory claimed = openSegment(w, finest < 3 ? finest : 2);
        if (finest == 3) claimed = lastSegment(w);
        bytes memory call = finestCall(w, head, claimed, openSegment(w, 2));
        if (finest == 2 || finest == 3) {
            refuses(call, nothingWrong(Fault.Gram));
            for (uint256 s = 0; s < 2; ++s) {
                refuses(finestCall(w, head, claimed, openSegment(w, s)), nothingWrong(Fault.Gram));
            }
        } else {
            convicts(w, Fault.Gram, Part.Whole, 0, call);
        }
    }

    function lastSegment(World memory w) private pure returns (Segment memory s) {
        uint256 index = w.book.segments.data.length - 1;
        (s.first, s.length, s.exponent, s.kind) = RuleBook.partsOf(w.book.segments.data[index]);
        (s.counted, s.index) = (Trees.countedOf(w.book.segments), uint64(index));
        s.proof = Trees.proofOf(w.book.segments, index);
    }

    function test_convictFinest_takes_the_segment_that_is_named() public {
        World memory w = honest(40, BITS);
        w.book.segments = twoScales(40);
        finest = 2;
        selecting(w);
        bytes memory head = anchored(w, sumsOf(w));
        refuses(finestCall(w, head, openSegment(w, 0), openSegment(w, 2)), badIndex(0, 2));
        Segment memory forged = openSegment(w, 2);
        forged.exponent = 9;
        bytes32 root = Trees.rootOf(w.book.segments);
        refuses(finestCall(w, head, forged, openSegment(w, 0)), badProof(root, 2));
        forged.exponent = -9;
        refuses(finestCall(w, head, openSegment(w, 2), forged), badProof(root, 2));
    }

    function test_no_segment_gives_the_unit_where_all_are_buffers() public {
        World memory w = honest(40, BITS);
        w.book.segments = RuleBook.segmentsOf(0, 40, SegmentKind.Buffer);
        finest = NO_SEGMENT;
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        Segment memory none;
        refuses(finestCall(w, head, none, openSegment(w, 0)), nothingWrong(Fault.Gram));
        refuses(productCall(w, head, productOf(w, sums, 0, 1, 2)), nothingWrong(Fault.Product));
        selecting(w);
        falsify(sums, 1, 2, 1);
        head = anchored(w, sums);
        convicts(w, Fault.Product, Part.Whole, 0, productCall(w, head, productOf(w, sums, 0, 1, 2)));
    }

    // -------------------------------------------------------------------------------------------------- convictSelection

    function test_convictSelection_convicts_any_other_factor_or_divisor(uint8 drawn, uint16 factor) public {
        uint256 which = drawn % 4;
        vm.assume(factor != 1 && (which < 3 || (factor != 3 && factor != 0))); // no result has divisor 0
        World memory w = honest(40, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        refuses(selectionCall(w, head, selectionOf(w, sums)), nothingWrong(Fault.Selection));
        if (which < 3) factors[which] = factor;
        else divisor = factor;
        selecting(w);
        head = anchored(w, sums);
        convicts(w, Fault.Selection, Part.Whole, 0, selectionCall(w, head, selectionOf(w, sums)));
    }

    function test_convictSelection_redoes_krum() public {
        parameters[1] = 1; // the one whose nearest other is nearest; two of them are equal
        World memory w = honest(40, BITS);
        w.updates[2] = w.updates[0];
        (factors, divisor) = ([uint32(1), 0, 1], 2);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        refuses(selectionCall(w, head, selectionOf(w, sums)), nothingWrong(Fault.Selection));
        (factors, divisor) = ([uint32(0), 1, 0], 1);
        selecting(w);
        head = anchored(w, sums);
        convicts(w, Fault.Selection, Part.Whole, 0, selectionCall(w, head, selectionOf(w, sums)));
    }

    function test_convictSelection_takes_the_list_and_the_last_row_alone() public {
        World memory w = honest(2 * ROW + 1, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        Selection memory s = selectionOf(w, sums);
        s.contributions[1].factor = 0;
        bytes32 listRoot = Trees.rootOf(Trees.listOf(s.contributions));
        refuses(selectionCall(w, head, s), otherRoot(listRoot, w.result.contributionsRoot));
        s.contributions[1].factor = 1;
        bytes memory right = s.products;
        s.products = bytes.concat(sums.data[3], sums.data[4], sums.data[5]);
        Leaves memory other = sumsOf(w);
        (other.data[6], other.data[7], other.data[8]) = (sums.data[3], sums.data[4], sums.data[5]);
        refuses(selectionCall(w, head, s), otherRoot(Trees.rootOf(other), Trees.rootOf(sums)));
        s.products = bytes.concat(right, bytes32(0));
        refuses(selectionCall(w, head, s), badLength(320, 288));
        s.products = right;
        s.peaks = new bytes32[](3);
        refuses(selectionCall(w, head, s), badLength(3, 2));
        Contribution[] memory two = new Contribution[](2);
        (two[0], two[1]) = (s.contributions[0], s.contributions[1]);
        s.contributions = two;
        refuses(selectionCall(w, head, s), badLength(2, 3));
        refuses(selectionCall(w, head, selectionOf(w, sums)), nothingWrong(Fault.Selection));
    }

    function test_convictSelection_knows_these_rules_alone(uint16 number) public {
        vm.assume(number != 0 && (number < 5 || number > 8));
        rule = number;
        World memory w = honest(40, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        bytes memory reason = abi.encodeWithSelector(ISelections.UnknownSelection.selector, number);
        refuses(selectionCall(w, head, selectionOf(w, sums)), reason);
    }

    function test_convictSelection_reverts_on_what_is_no_matrix_of_inner_products() public {
        World memory w = honest(40, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        falsify(sums, 1, 1, -(1 << 100));
        bytes memory head = anchored(w, sums);
        bytes memory reason = abi.encodeWithSelector(ISelections.BadProducts.selector);
        refuses(selectionCall(w, head, selectionOf(w, sums)), reason);
        convicts(w, Fault.Product, Part.Whole, 0, productCall(w, head, productOf(w, sums, 0, 1, 1)));
    }

    function test_a_result_of_another_window_is_not_convicted() public {
        World memory w = honest(40, BITS);
        selecting(w);
        Leaves memory sums = sumsOf(w);
        bytes memory head = anchored(w, sums);
        bytes memory call = selectionCall(w, head, selectionOf(w, sums));
        forward(CHALLENGE);
        bytes memory reason =
            abi.encodeWithSelector(IDisputed.NotDisputed.selector, modelId, current, hashOf(w.result));
        refuses(call, reason);
        refuses(reportCall(w, head), reason);
        refuses(gramCall(w, head, 0), reason);
    }

    function test_only_challenges_and_selections_convict() public {
        check(address(selections.COURT()) == address(court), "the court of this deployment");
        check(address(selections.CAIRN()) == address(cairn), "and its Cairn");
        check(address(court.SELECTIONS()) == address(selections), "each names the other");
    }
}
