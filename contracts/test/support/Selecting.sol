// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Segment, SegmentKind} from "../../interfaces/IChallenges.sol";
import {Demanded} from "../../interfaces/ICourt.sol";
import {Contribution, Counted, Opening, Target} from "../../interfaces/IDisputed.sol";
import {Shape} from "../../interfaces/IRules.sol";
import {Product, Selection, UpdateRow} from "../../interfaces/ISelections.sol";
import {World} from "./Disputes.sol";
import {Headed} from "./Headed.sol";
import {RuleBook} from "./RuleBook.sol";
import {Leaves, Trees} from "./Trees.sol";

/// @notice Rounds under rules that select, whose report anchors the inner products of three contributions.
abstract contract Selecting is Headed {
    uint256 internal constant ROW = 4096;
    uint256 internal constant NO_SEGMENT = type(uint64).max;
    uint8 internal constant BITS = 24;

    /// The rule and what it takes. Krum of all: everybody is selected.
    uint16 internal rule = 5;
    Shape internal shape = Shape.Select;
    int64[] internal parameters;
    uint32[3] internal factors = [uint32(1), 1, 1];
    uint32 internal divisor = 3;
    /// Where the head says the unit is from.
    uint256 internal finest;

    function setUp() public virtual override {
        super.setUp();
        delete parameters;
        for (uint256 i = 0; i < 4; ++i) {
            parameters.push(0);
        }
    }

    // --------------------------------------------------------------------------------------------------------- Building

    /// @dev A round up to phase Aggregate, with the factors as they are told here.
    function selecting(World memory w) internal {
        (w.book.combineRule, w.book.shape, w.book.uniform) = (rule, shape, true);
        w.book.parameters = parameters;
        enroll(w);
        begin(w);
        for (uint256 k = 0; k < 3; ++k) {
            w.list[k].factor = factors[k];
        }
        settle(w);
        w.result.divisor = divisor;
    }

    /// @dev Attested with these sums, and with this Gram part in the report.
    function anchored(World memory w, Leaves memory sums) internal returns (bytes memory head) {
        return headed(w, abi.encode(Trees.rootOf(sums), finest));
    }

    function headed(World memory w, bytes memory gram) internal returns (bytes memory head) {
        w.result.versionDigest = sha256(versionHead(w, current));
        head = gram.length == 0 ? reportHead(w, current) : selectionHead(w, current, gram);
        w.result.reportDigest = sha256(head);
        agreed(w);
    }

    /// @dev The sums of honest people, from the integers themselves.
    function sumsOf(World memory w) internal pure returns (Leaves memory sums) {
        uint256 values = w.updates[0].count;
        uint256 rows = (values + ROW - 1) / ROW;
        int256[] memory weights_ = weightsOf(w, values);
        int256[] memory q = integersOf(w, values);
        int256[3][3] memory total;
        sums.data = new bytes[](rows * 3);
        sums.count = uint64(rows * 9);
        for (uint256 row = 0; row < rows; ++row) {
            for (uint256 i = row * ROW; i < values && i < (row + 1) * ROW; ++i) {
                if (weights_[i] != 0) add(total, q, values, i, weights_[i]);
            }
            for (uint256 k = 0; k < 3; ++k) {
                sums.data[row * 3 + k] = abi.encode(total[k][0], total[k][1], total[k][2]);
            }
        }
    }

    function add(int256[3][3] memory total, int256[] memory q, uint256 values, uint256 i, int256 weight) private pure {
        for (uint256 k = 0; k < 3; ++k) {
            for (uint256 j = 0; j < 3; ++j) {
                total[k][j] += q[k * values + i] * q[j * values + i] * weight;
            }
        }
    }

    function integersOf(World memory w, uint256 values) private pure returns (int256[] memory q) {
        q = new int256[](3 * values);
        for (uint256 k = 0; k < 3; ++k) {
            for (uint256 i = 0; i < values; ++i) {
                bytes memory chunk = w.updates[k].data[i / Trees.CHUNK];
                uint256 word;
                uint256 begin = 4 * (i % Trees.CHUNK);
                assembly ("memory-safe") {
                    word := shr(224, mload(add(add(chunk, 32), begin)))
                }
                q[k * values + i] = integerOf(word);
            }
        }
    }

    /// @dev Of a float32 whose bytes stand as in a file, BITS fraction bits.
    function integerOf(uint256 stored) private pure returns (int256) {
        uint256 bits = (stored >> 24) | ((stored >> 8) & 0xff00) | ((stored << 8) & 0xff0000) | ((stored & 0xff) << 24);
        if (bits == 0) return 0;
        uint256 exponent = (bits >> 23) & 0xff;
        uint256 significand = (bits & 0x7fffff) | (1 << 23);
        uint256 scale = exponent + BITS;
        uint256 magnitude = scale >= 150 ? significand << (scale - 150) : significand >> (150 - scale);
        return bits >> 31 == 0 ? int256(magnitude) : -int256(magnitude);
    }

    /// @dev 2^(2 (e - E)) of each coordinate of parameters, 0 of a buffer.
    function weightsOf(World memory w, uint256 values) private pure returns (int256[] memory found) {
        found = new int256[](values);
        int16 least = type(int16).max;
        for (uint256 s = 0; s < w.book.segments.data.length; ++s) {
            (,, int16 exponent, SegmentKind kind) = RuleBook.partsOf(w.book.segments.data[s]);
            if (kind == SegmentKind.Parameter && exponent < least) least = exponent;
        }
        for (uint256 s = 0; s < w.book.segments.data.length; ++s) {
            (uint64 first, uint64 length, int16 exponent, SegmentKind kind) =
                RuleBook.partsOf(w.book.segments.data[s]);
            if (kind != SegmentKind.Parameter) continue;
            for (uint256 i = first; i < first + length && i < values; ++i) {
                found[i] = int256(1) << uint256(int256(2 * (exponent - least)));
            }
        }
    }

    /// @dev Another sum in a leaf.
    function falsify(Leaves memory sums, uint256 leaf, uint256 place, int256 by) internal pure {
        bytes memory data = sums.data[leaf];
        assembly ("memory-safe") {
            let at := add(add(data, 32), mul(32, place))
            mstore(at, add(mload(at), by))
        }
    }

    // ---------------------------------------------------------------------------------------------------------- Openings

    function segmentAt(World memory w, uint64 coordinate) internal pure returns (Segment memory) {
        return RuleBook.open(w.book.segments, coordinate);
    }

    function openSegment(World memory w, uint256 index) internal pure returns (Segment memory) {
        (uint64 first,,,) = RuleBook.partsOf(w.book.segments.data[index]);
        return RuleBook.open(w.book.segments, first);
    }

    function rowOf(World memory w, uint256 k, uint256 row) internal pure returns (UpdateRow memory found) {
        Leaves memory update = w.updates[k];
        (found.membership, found.counted) = (member(w, k), Trees.countedOf(update));
        uint256 chunks = update.data.length;
        bytes32[] memory hashes = Trees.hashesOf(update.data);
        uint256 rows = (chunks + 15) / 16;
        bytes32[] memory subtrees = new bytes32[](rows);
        for (uint256 r = 0; r < rows; ++r) {
            subtrees[r] = Trees.rootOf(hashes, 16 * r, 16 * (r + 1) < chunks ? 16 * (r + 1) : chunks);
        }
        for (uint256 c = 16 * row; c < 16 * (row + 1) && c < chunks; ++c) {
            found.values = bytes.concat(found.values, update.data[c]);
        }
        bytes32[] memory path = new bytes32[](64);
        uint256 length = Trees.pathOf(subtrees, row, 0, rows, path);
        found.proof = new bytes32[](length);
        for (uint256 i = 0; i < length; ++i) {
            found.proof[i] = path[i];
        }
    }

    /// @dev What shows that a sum is false: of contribution left with contribution right, after a row.
    function productOf(World memory w, Leaves memory sums, uint64 row, uint256 left, uint256 right)
        internal
        view
        returns (Product memory p)
    {
        p.row = row;
        (p.left, p.right) = (rowOf(w, left, row), rowOf(w, right, row));
        p.sums = Trees.open(sums, row * 3 + left);
        if (row != 0) p.sumsBefore = Trees.open(sums, (row - 1) * 3 + left);
        if (finest < w.book.segments.data.length) p.finest = openSegment(w, finest);
        uint256 first = row * ROW;
        uint256 end = first + ROW < w.updates[0].count ? first + ROW : w.updates[0].count;
        Segment[] memory found = new Segment[](w.book.segments.data.length);
        uint256 there;
        for (uint256 s = 0; s < found.length; ++s) {
            Segment memory one = openSegment(w, s);
            if (one.first < end && one.first + one.length > first) found[there++] = one;
        }
        assembly ("memory-safe") {
            mstore(found, there)
        }
        p.segments = found;
    }

    function selectionOf(World memory w, Leaves memory sums) internal pure returns (Selection memory s) {
        s.contributions = w.list;
        uint256 before = sums.data.length - 3;
        for (uint256 k = 0; k < 3; ++k) {
            s.products = bytes.concat(s.products, sums.data[before + k]);
        }
        bytes32[] memory hashes = Trees.hashesOf(sums.data);
        bytes32[] memory peaks = new bytes32[](32);
        uint256 height;
        uint256 from;
        for (uint256 size = 1 << 31; size != 0; size /= 2) {
            if (before & size == 0) continue;
            peaks[height++] = Trees.rootOf(hashes, from, from + size);
            from += size;
        }
        assembly ("memory-safe") {
            mstore(peaks, height)
        }
        s.peaks = peaks;
    }

    // ------------------------------------------------------------------------------------------------------------- Calls

    function reportCall(World memory w, bytes memory head) internal view returns (bytes memory) {
        return abi.encodeCall(selections.convictReport, (targetOf(w), basisOf(w), head));
    }

    function finestCall(World memory w, bytes memory head, Segment memory claimed, Segment memory finer)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(selections.convictFinest, (targetOf(w), basisOf(w), head, claimed, finer));
    }

    function gramSizeCall(World memory w, bytes memory head, Counted memory counted)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(selections.convictGramSize, (targetOf(w), basisOf(w), head, counted));
    }

    function productCall(World memory w, bytes memory head, Product memory p) internal view returns (bytes memory) {
        return abi.encodeCall(selections.convictProduct, (targetOf(w), basisOf(w), head, p));
    }

    function selectionCall(World memory w, bytes memory head, Selection memory s) internal view returns (bytes memory) {
        return abi.encodeCall(selections.convictSelection, (targetOf(w), basisOf(w), head, s));
    }

    function gramCall(World memory w, bytes memory head, uint64 index) internal view returns (bytes memory) {
        return abi.encodeCall(court.demandGram, (targetOf(w), head, only(index)));
    }

    function demandedSums(World memory w, Leaves memory sums, uint64 index) internal view returns (Demanded memory) {
        return Demanded(roundId(current), tally(w), Trees.rootOf(sums), 32, 3, index);
    }
}
