// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice How a row packs 256 values: signed integers of so many bits with one scale.
struct Packing {
    /// 4, 8 or 16.
    uint256 bits;
    /// How many of them are kept, each with its position; 0 for all.
    uint256 kept;
}

/// @title Packed rows of an update
/// @notice A row stands for 256 coordinates: an exponent byte e, positions if only the largest values are kept, and
/// mantissas of so many bits, little-endian. Its integers are mantissa * 2^e, as `registry/rules/packed.py` decodes them.
library Packed {
    /// @dev Coordinates of a row.
    uint256 internal constant VALUES = 256;
    /// @dev Largest magnitude of an integer: 2^24.
    uint256 private constant LIMIT_BITS = 24;

    /// @notice Whether there is such a layout.
    function isValid(uint256 bits, uint256 kept) internal pure returns (bool) {
        if (kept > VALUES / 2) return false;
        return bits == 8 || bits == 16 || (bits == 4 && kept == 0);
    }

    /// @notice Bytes of a row.
    function rowBytes(Packing memory p) internal pure returns (uint256) {
        unchecked {
            return 1 + p.kept + _mantissas(p) * p.bits / 8; // bytes each
        }
    }

    /// @notice The integer of a coordinate.
    /// @param row Of `rowBytes` bytes.
    /// @param place Of the coordinate in the row, at most 255.
    /// @return fits Whether it may stand in an update. Of a row that is not canonical elsewhere it may.
    function integerAt(Packing memory p, bytes calldata row, uint256 place) internal pure returns (bool fits, int256 q) {
        if (p.kept == 0) return _scaled(p, row, _mantissa(p, row, place));
        for (uint256 i = 0; i < p.kept; ++i) {
            int256 mantissa = _mantissa(p, row, i);
            // Padding stands at position 0.
            if (mantissa != 0 && uint8(row[1 + i]) == place) return _scaled(p, row, mantissa);
        }
        return (true, 0);
    }

    /// @notice Whether a row is the one encoding of its integers.
    /// @param row Of `rowBytes` bytes.
    /// @param count Coordinates of the version from its first on: what it has beyond them is zero.
    function isCanonical(Packing memory p, bytes calldata row, uint256 count) internal pure returns (bool) {
        uint256 largest = 0;
        uint256 next = 0; // position that the next value has at least
        bool ended = false;
        uint256 mantissas = _mantissas(p);
        for (uint256 i = 0; i < mantissas; ++i) {
            int256 mantissa = _mantissa(p, row, i);
            uint256 place = p.kept == 0 ? i : uint8(row[1 + i]);
            if (mantissa == 0) {
                ended = p.kept != 0;
                if (ended && place != 0) return false;
                continue;
            }
            if (ended || place < next || place >= count) return false;
            next = place + 1;
            uint256 magnitude = uint256(mantissa < 0 ? -mantissa : mantissa);
            if (magnitude > largest) largest = magnitude;
        }
        uint256 most = _most(p);
        uint256 exponent = uint8(row[0]);
        if (largest > most || exponent > LIMIT_BITS || largest << exponent > 1 << LIMIT_BITS) return false;
        return exponent == 0 || 2 * largest > most;
    }

    function _scaled(Packing memory p, bytes calldata row, int256 mantissa) private pure returns (bool, int256) {
        uint256 magnitude = uint256(mantissa < 0 ? -mantissa : mantissa);
        uint256 exponent = uint8(row[0]);
        if (magnitude > _most(p) || exponent > LIMIT_BITS || magnitude << exponent > 1 << LIMIT_BITS) return (false, 0);
        return (true, mantissa * int256(1 << exponent));
    }

    /// @dev Two's complement.
    function _mantissa(Packing memory p, bytes calldata row, uint256 index) private pure returns (int256) {
        uint256 at = 1 + p.kept + index * p.bits / 8;
        uint256 found = uint8(row[at]);
        if (p.bits == 16) found |= uint256(uint8(row[at + 1])) << 8;
        if (p.bits == 4) found = index & 1 == 0 ? found & 15 : found >> 4;
        return found <= _most(p) ? int256(found) : int256(found) - int256(1 << p.bits);
    }

    /// @dev Largest mantissa.
    function _most(Packing memory p) private pure returns (uint256) {
        return (1 << (p.bits - 1)) - 1;
    }

    function _mantissas(Packing memory p) private pure returns (uint256) {
        return p.kept == 0 ? VALUES : p.kept;
    }
}
