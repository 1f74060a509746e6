// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SegmentKind, Segment} from "../../interfaces/IChallenges.sol";
import {Shape} from "../../interfaces/IRules.sol";
import {Leaves, Trees} from "./Trees.sol";

/// @notice Rules in parts, to be spoilt one by one before they are encoded.
struct Book {
    uint16 combineRule;
    Shape shape;
    uint8 gridBits;
    uint16 updateForm;
    uint64 values;
    Leaves segments;
    bytes program;
    bool uniform;
    int64[] parameters;
}

/// @title Rule bytes, and segments with their proofs
library RuleBook {
    /// @dev FedAvg at rate 1: no state, no constants, no operations; the step is q.
    bytes internal constant FEDAVG = hex"0000000000";
    /// @dev One state m, -2^40..2^40 and 6 at first: m' = (m >> 1) + q; the step is m'.
    bytes internal constant MOMENTUM = hex"01" hex"ffffff0000000000" hex"0000010000000000" hex"0000000000000006"
        hex"000002" hex"090101" hex"010600" hex"0707";

    /// @dev One segment of parameters without a scale; the weighted mean; FedAvg at rate 1.
    function simple(uint64 values, uint8 gridBits) internal pure returns (Book memory) {
        return Book({
            combineRule: 1,
            shape: Shape.Fold,
            gridBits: gridBits,
            updateForm: 1,
            values: values,
            segments: segmentsOf(0, values, SegmentKind.Parameter),
            program: FEDAVG,
            uniform: false,
            parameters: new int64[](0)
        });
    }

    function encode(Book memory b) internal pure returns (bytes memory) {
        return bytes.concat(
            abi.encodePacked(uint8(1), b.combineRule, uint8(b.shape), b.updateForm, b.uniform, b.gridBits),
            abi.encodePacked(b.values, bytes32("header"), Trees.rootOf(b.segments)),
            packed(b.parameters),
            b.program
        );
    }

    function packed(int64[] memory numbers) internal pure returns (bytes memory all) {
        all = abi.encodePacked(uint8(numbers.length));
        for (uint256 i = 0; i < numbers.length; ++i) {
            all = bytes.concat(all, bytes8(uint64(numbers[i])));
        }
    }

    /// @dev A tree of one segment.
    function segmentsOf(int16 exponent, uint64 length, SegmentKind kind) internal pure returns (Leaves memory leaves) {
        leaves.data = new bytes[](1);
        leaves.data[0] = leafOf(0, length, exponent, kind);
        leaves.count = 1;
    }

    /// @dev One more segment after the others.
    function append(Leaves memory leaves, uint64 first, uint64 length, int16 exponent, SegmentKind kind) internal pure {
        bytes[] memory data = new bytes[](leaves.data.length + 1);
        for (uint256 i = 0; i < leaves.data.length; ++i) {
            data[i] = leaves.data[i];
        }
        data[leaves.data.length] = leafOf(first, length, exponent, kind);
        (leaves.data, leaves.count) = (data, uint64(data.length));
    }

    function leafOf(uint64 first, uint64 length, int16 exponent, SegmentKind kind) internal pure returns (bytes memory) {
        return abi.encodePacked(first, length, exponent, kind);
    }

    /// @dev The segment of a coordinate, opened.
    function open(Leaves memory leaves, uint64 coordinate) internal pure returns (Segment memory s) {
        for (uint256 i = 0; i < leaves.data.length; ++i) {
            (s.first, s.length, s.exponent, s.kind) = partsOf(leaves.data[i]);
            if (coordinate < s.first + s.length || i + 1 == leaves.data.length) {
                (s.counted, s.index, s.proof) = (Trees.countedOf(leaves), uint64(i), Trees.proofOf(leaves, i));
                return s;
            }
        }
    }

    function partsOf(bytes memory leaf)
        internal
        pure
        returns (uint64 first, uint64 length, int16 exponent, SegmentKind kind)
    {
        uint256 word;
        assembly ("memory-safe") {
            word := mload(add(leaf, 32))
        }
        (first, length) = (uint64(word >> 192), uint64(word >> 128));
        (exponent, kind) = (int16(uint16(word >> 112)), SegmentKind(uint8(word >> 104)));
    }
}
