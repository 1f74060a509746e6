// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {GramPart} from "../challenges/GramPart.sol";
import {Merkle} from "../challenges/Merkle.sol";
import {Dispute} from "../interfaces/ICairn.sol";
import {IChallenges, Segment, SegmentKind} from "../interfaces/IChallenges.sol";
import {Fault} from "../interfaces/ICourt.sol";
import {Basis, Opening, Target} from "../interfaces/IDisputed.sol";
import {ISelections, Product, UpdateRow} from "../interfaces/ISelections.sol";
import {RuleBytes} from "../rules/RuleBytes.sol";
import {DotProduct} from "./DotProduct.sol";
import {Reported} from "./Reported.sol";

/// @title Inner products, summed up row by row: one row of two contributions shows that a sum is false
abstract contract Products is Reported {
    /// @dev Of an update's chunk, whose rows are subtrees: 16 is a power of two.
    uint256 private constant CHUNK_BYTES = 4 * 256;
    uint64 private constant CHUNKS = GramPart.ROW_VALUES / 256;

    /// @dev Where a row stands.
    struct Span {
        uint64 first;
        uint64 end;
        uint64 values;
    }

    /// @inheritdoc ISelections
    function convictProduct(Target calldata target, Basis calldata basis, bytes calldata head, Product calldata p)
        external
    {
        Dispute memory found = _openGram(target, basis, head);
        if (!RuleBytes.isDense(basis.rules)) {
            revert IChallenges.FormNotDisputable(RuleBytes.updateForm(basis.rules));
        }
        uint64 rows = GramPart.rows(basis.rules);
        if (p.row >= rows) revert BadIndex(p.row, rows);
        uint64 count = target.result.contributions;
        if (p.right.membership.index >= count) revert BadIndex(p.right.membership.index, count);
        bytes32 root = GramPart.root(head);
        uint64 leaf = p.row * count + p.left.membership.index;
        _requireSums(target, basis, p.sums, leaf, root);
        if (p.sums.leaf.length == 32 * uint256(count)) {
            uint256 begin = 32 * uint256(p.right.membership.index);
            uint256 sum = p.row == 0 ? 0 : _sumBefore(target, basis, p, root);
            unchecked {
                sum += uint256(_rowProduct(target, basis, GramPart.finest(head), p));
            }
            if (uint256(bytes32(p.sums.leaf[begin:begin + 32])) == sum) revert IChallenges.NothingWrong(Fault.Product);
        }
        _convict(target, found, Fault.Product);
    }

    /// @dev A leaf of the sums, of any length.
    function _requireSums(
        Target calldata target,
        Basis calldata basis,
        Opening calldata opening,
        uint64 index,
        bytes32 root
    ) private view {
        uint64 numbers = _numbers(target, basis);
        if (opening.counted.count != numbers) revert BadIndex(opening.counted.count, numbers);
        _requireChunk(opening, index, root, Rows(32, uint16(target.result.contributions)));
    }

    function _sumBefore(Target calldata target, Basis calldata basis, Product calldata p, bytes32 root)
        private
        view
        returns (uint256)
    {
        uint64 count = target.result.contributions;
        _requireSums(target, basis, p.sumsBefore, (p.row - 1) * count + p.left.membership.index, root);
        uint256 expected = 32 * uint256(count);
        if (p.sumsBefore.leaf.length != expected) revert BadLength(p.sumsBefore.leaf.length, expected);
        uint256 begin = 32 * uint256(p.right.membership.index);
        return uint256(bytes32(p.sumsBefore.leaf[begin:begin + 32]));
    }

    /// @dev What a row adds to the sum, modulo 2^256.
    function _rowProduct(Target calldata target, Basis calldata basis, uint256 finest, Product calldata p)
        private
        view
        returns (int256 sum)
    {
        // slither-disable-next-line uninitialized-local
        Span memory span;
        span.values = RuleBytes.values(basis.rules);
        span.first = p.row * GramPart.ROW_VALUES;
        span.end = span.values - span.first < GramPart.ROW_VALUES ? span.values : span.first + GramPart.ROW_VALUES;
        _requireRow(target, p.left, p.row, span);
        _requireRow(target, p.right, p.row, span);
        bytes32 root = RuleBytes.segments(basis.rules);
        if (finest != NO_SEGMENT) {
            if (p.finest.index != finest) revert BadIndex(p.finest.index, uint64(finest));
            _requireSegment(p.finest, root);
        }
        uint64 next = span.first;
        for (uint256 i = 0; i < p.segments.length; ++i) {
            Segment calldata s = p.segments[i];
            _requireSegment(s, root);
            if (next < s.first || next - s.first >= s.length) revert IChallenges.BadSegment(s.first, s.length);
            uint64 stop = s.length - (next - s.first) < span.end - next ? s.first + s.length : span.end;
            if (s.kind == SegmentKind.Parameter) {
                // Else the head names the wrong one, which is a fault of its own.
                if (finest == NO_SEGMENT || s.exponent < p.finest.exponent) {
                    revert IChallenges.BadExponent(s.exponent);
                }
                int256 part = _dot(p, next - span.first, stop - span.first, RuleBytes.gridBits(basis.rules));
                unchecked {
                    sum += part << uint256(2 * (int256(s.exponent) - p.finest.exponent));
                }
            }
            next = stop;
        }
        if (next != span.end) revert BadIndex(next, span.end);
    }

    function _dot(Product calldata p, uint256 begin, uint256 end, uint8 gridBits) private pure returns (int256) {
        bytes calldata left = p.left.values[4 * begin:4 * end];
        bytes calldata right = p.right.values[4 * begin:4 * end];
        (bool canonical, int256 sum) = DotProduct.sumOf(left, right, gridBits);
        if (!canonical) revert IChallenges.NotOnGrid(uint64(begin));
        return sum;
    }

    /// @dev A row of a listed update, whose chunks are leaves 16 r to 16 r + 15 of its tree, so one subtree.
    function _requireRow(Target calldata target, UpdateRow calldata row, uint64 index, Span memory span) private view {
        _requireMember(row.membership, target.result.contributionsRoot);
        bytes32 root = row.membership.contribution.tensorRoot;
        _requireCounted(row.counted, root);
        if (row.counted.count != span.values) revert BadIndex(row.counted.count, span.values);
        uint256 expected = 4 * uint256(span.end - span.first);
        if (row.values.length != expected) revert BadLength(row.values.length, expected);
        bytes32[] memory peaks = new bytes32[](CHUNKS);
        uint256 height = 0;
        uint256 chunks = 0;
        for (uint256 begin = 0; begin < expected; begin += CHUNK_BYTES) {
            uint256 stop = begin + CHUNK_BYTES < expected ? begin + CHUNK_BYTES : expected;
            height = Merkle.grow(peaks, height, chunks++, Merkle.leafHash(row.values[begin:stop]));
        }
        bytes32 subtree = Merkle.rootOf(peaks, height);
        uint64 rows = (span.values + GramPart.ROW_VALUES - 1) / GramPart.ROW_VALUES;
        if (!Merkle.includes(subtree, index, rows, row.proof, row.counted.inner)) revert BadProof(root, index);
    }
}
