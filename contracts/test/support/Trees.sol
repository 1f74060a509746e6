// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Contribution, Counted, Membership, Opening} from "../../interfaces/Openings.sol";

/// @notice Leaves in order, and the number that goes into the counted root: values for a blob, leaves for a list.
struct Leaves {
    uint64 count;
    bytes[] data;
}

/// @title Trees to hold the contracts against
/// @dev Recursive, as RFC 9162 defines them in 2.1.1 and 2.1.3.1; the contracts go through them in a loop.
library Trees {
    uint256 internal constant CHUNK = 256;

    // -------------------------------------------------------------------------------------------------------- RFC 9162

    function leafHash(bytes memory leaf) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0), leaf));
    }

    function nodeHash(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }

    /// @dev MTH(D[begin:end]).
    function rootOf(bytes32[] memory hashes, uint256 begin, uint256 end) internal pure returns (bytes32) {
        if (end - begin == 1) return hashes[begin];
        uint256 middle = begin + split(end - begin);
        return nodeHash(rootOf(hashes, begin, middle), rootOf(hashes, middle, end));
    }

    /// @dev PATH(m, D[begin:end]), written into `proof`; returns how many there are.
    function pathOf(bytes32[] memory hashes, uint256 m, uint256 begin, uint256 end, bytes32[] memory proof)
        internal
        pure
        returns (uint256 length)
    {
        if (end - begin == 1) return 0;
        uint256 middle = begin + split(end - begin);
        if (m < middle) {
            length = pathOf(hashes, m, begin, middle, proof);
            proof[length] = rootOf(hashes, middle, end);
        } else {
            length = pathOf(hashes, m, middle, end, proof);
            proof[length] = rootOf(hashes, begin, middle);
        }
        return length + 1;
    }

    /// @dev The largest power of two below n.
    function split(uint256 n) internal pure returns (uint256 k) {
        k = 1;
        while (2 * k < n) k *= 2;
    }

    // ----------------------------------------------------------------------------------------------- Roots and openings

    function hashesOf(bytes[] memory data) internal pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](data.length);
        for (uint256 i = 0; i < data.length; ++i) {
            hashes[i] = leafHash(data[i]);
        }
    }

    function countedOf(Leaves memory leaves) internal pure returns (Counted memory) {
        bytes32 inner = leaves.data.length == 0 ? sha256("") : rootOf(hashesOf(leaves.data), 0, leaves.data.length);
        return Counted(leaves.count, inner);
    }

    function rootOf(Leaves memory leaves) internal pure returns (bytes32) {
        return hashOf(countedOf(leaves));
    }

    function hashOf(Counted memory counted) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x02), counted.count, counted.inner));
    }

    function proofOf(Leaves memory leaves, uint256 index) internal pure returns (bytes32[] memory proof) {
        bytes32[] memory path = new bytes32[](64);
        uint256 length = pathOf(hashesOf(leaves.data), index, 0, leaves.data.length, path);
        proof = new bytes32[](length);
        for (uint256 i = 0; i < length; ++i) {
            proof[i] = path[i];
        }
    }

    function open(Leaves memory leaves, uint256 index) internal pure returns (Opening memory) {
        return Opening(countedOf(leaves), leaves.data[index], proofOf(leaves, index));
    }

    /// @dev The opening of the chunk in which a value stands.
    function openAt(Leaves memory blob, uint256 coordinate) internal pure returns (Opening memory) {
        return open(blob, coordinate / CHUNK);
    }

    // -------------------------------------------------------------------------------------------------- Blobs and lists

    function blobOf(uint32[] memory values) internal pure returns (Leaves memory blob) {
        blob.count = uint64(values.length);
        blob.data = new bytes[]((values.length + CHUNK - 1) / CHUNK);
        for (uint256 i = 0; i < blob.data.length; ++i) {
            uint256 left = values.length - i * CHUNK;
            blob.data[i] = new bytes(4 * (left < CHUNK ? left : CHUNK));
        }
        for (uint256 i = 0; i < values.length; ++i) {
            setValue(blob, i, values[i]);
        }
    }

    /// @dev Little-endian. Assembly, since tests write thousands of values.
    function setValue(Leaves memory blob, uint256 coordinate, uint32 bits) internal pure {
        bytes memory chunk = blob.data[coordinate / CHUNK];
        uint256 begin = 4 * (coordinate % CHUNK);
        assert(begin + 4 <= chunk.length);
        assembly ("memory-safe") {
            let place := add(add(chunk, 32), begin)
            mstore8(place, bits)
            mstore8(add(place, 1), shr(8, bits))
            mstore8(add(place, 2), shr(16, bits))
            mstore8(add(place, 3), shr(24, bits))
        }
    }

    /// @dev A server's state: so many int64 a coordinate, one after the other, as many whole coordinates a chunk as fit.
    function stateOf(int64[] memory values, uint256 states) internal pure returns (Leaves memory blob) {
        uint256 row = CHUNK / 2 - CHUNK / 2 % states;
        blob.count = uint64(values.length);
        blob.data = new bytes[]((values.length + row - 1) / row);
        for (uint256 i = 0; i < blob.data.length; ++i) {
            uint256 left = values.length - i * row;
            blob.data[i] = new bytes(8 * (left < row ? left : row));
        }
        for (uint256 i = 0; i < values.length; ++i) {
            setInt64(blob.data[i / row], 8 * (i % row), values[i]);
        }
    }

    /// @dev Little-endian.
    function setInt64(bytes memory chunk, uint256 begin, int64 value) internal pure {
        assert(begin + 8 <= chunk.length);
        for (uint256 i = 0; i < 8; ++i) {
            chunk[begin + i] = bytes1(uint8(uint64(value) >> (8 * i)));
        }
    }

    function listOf(Contribution[] memory contributions) internal pure returns (Leaves memory list) {
        list.count = uint64(contributions.length);
        list.data = new bytes[](contributions.length);
        for (uint256 i = 0; i < contributions.length; ++i) {
            Contribution memory c = contributions[i];
            list.data[i] = abi.encode(c.participant, c.digest, c.tensorRoot, c.weight, c.steps, c.factor);
        }
    }

    function memberOf(Contribution[] memory contributions, uint256 index) internal pure returns (Membership memory) {
        Leaves memory list = listOf(contributions);
        Contribution memory c = contributions[index];
        // A copy, so that a test that forges it leaves the list as it is.
        c = Contribution(c.participant, c.digest, c.tensorRoot, c.weight, c.steps, c.factor);
        return Membership(countedOf(list), uint64(index), c, proofOf(list, index));
    }

    /// @notice The bits of q * 2^-gridBits, for |q| <= 2^24.
    function float32(int256 q, uint8 gridBits) internal pure returns (uint32) {
        if (q == 0) return 0;
        uint256 magnitude = q < 0 ? uint256(-q) : uint256(q);
        uint256 length = Math.log2(magnitude);
        // 24 bits, the first of them at the top; 2^24 itself has one more, which is zero.
        uint256 significand = length > 23 ? magnitude >> 1 : magnitude << (23 - length);
        uint256 exponent = 127 + length - gridBits;
        return uint32((q < 0 ? 1 << 31 : 0) | (exponent << 23) | (significand & 0x7fffff));
    }
}
