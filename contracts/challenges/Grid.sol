// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title The arithmetic of a round, in integers
/// @notice float32 values are given as their IEEE 754 bits. What is computed here is what `registry/rules` computes in
/// float64: the grid's lemmas say why the mean is, and below is said why the server step is.
library Grid {
    /// @dev Largest magnitude of a grid integer.
    uint256 internal constant LIMIT = 1 << 24;
    /// @dev The bit of a significand that is not written.
    uint256 private constant HIDDEN = 1 << 23;
    uint32 private constant INFINITY = 0xff << 23;
    uint32 private constant LARGEST = INFINITY - 1;
    uint32 private constant SIGN = 1 << 31;

    /// @notice The integer q of a value q * 2^-gridBits.
    /// @param gridBits At most 126.
    /// @return canonical Whether the value may stand in an update: |q| <= 2^24, and zero is +0.0.
    function toInteger(uint32 bits, uint8 gridBits) internal pure returns (bool canonical, int256 q) {
        if (bits == 0) return (true, 0);
        uint256 exponent = (bits >> 23) & 0xff;
        // With gridBits at most 126, subnormals and -0.0 (exponent 0) are scaled down by more bits than they have, and
        // infinities and what is no number (exponent 255) up beyond the limit, within 256 bits.
        uint256 significand = (bits & 0x7fffff) | HIDDEN;
        // The value is significand * 2^(exponent - 150), so q is significand * 2^(exponent + gridBits - 150).
        uint256 scale = exponent + gridBits;
        uint256 magnitude;
        if (scale >= 150) {
            magnitude = significand << (scale - 150);
        } else {
            uint256 down = 150 - scale;
            if (significand & ((1 << down) - 1) != 0) return (false, 0);
            magnitude = significand >> down;
        }
        if (magnitude > LIMIT) return (false, 0);
        // forge-lint: disable-next-line(unsafe-typecast)
        return (true, bits >> 31 == 0 ? int256(magnitude) : -int256(magnitude));
    }

    /// @notice sum / weight, rounded to the nearest integer, ties to even.
    function mean(int256 sum, uint256 weight) internal pure returns (int256) {
        uint256 magnitude = sum < 0 ? uint256(-sum) : uint256(sum);
        uint256 quotient = magnitude / weight;
        uint256 twice = 2 * (magnitude % weight);
        if (twice > weight || (twice == weight && quotient & 1 == 1)) ++quotient;
        return sum < 0 ? -int256(quotient) : int256(quotient);
    }

    /// @notice f32(f64(w) + f64(x)), each addition and conversion rounded to nearest, ties to even.
    /// @param w Finite.
    /// @param x Finite and not -0.0.
    function add(uint32 w, uint32 x) internal pure returns (uint32) {
        (uint256 exponent, uint256 significand) = _split(x);
        return _add(w, _signed(x, significand), exponent);
    }

    /// @notice f32(f64(w) + f64(d) * 2^k), rounded as in `add`; the largest float32 instead of infinity.
    /// @param w Finite.
    /// @param d At most 2^24 in magnitude.
    /// @param k -149..103, so that d * 2^k is a finite float32.
    function step(uint32 w, int256 d, int256 k) internal pure returns (uint32) {
        uint32 sum = _add(w, d, uint256(k + 150));
        return isFinite(sum) ? sum : (sum & SIGN) | LARGEST;
    }

    /// @dev f32(f64(w) + x), x = significand * 2^(exponent - 150), |significand| at most 2^24, exponent at least 1.
    /// Both are integers times a power of two; their sum is formed exactly and rounded to 24 bits. That float64 rounds it
    /// to 53 bits first changes nothing, since 53 >= 2 * 24 + 2 (Figueroa, When is double rounding innocuous?, SIGNUM
    /// Newsletter 30(3), 1995). If the exponents differ by more than 64, the term with the smaller one is below 2^-40 of
    /// the other's last place, and half a unit of the sum is 2^-25 at least: the other is the sum. Every multiple of
    /// 2^-149 below 2^-126 is a float32, so subnormals need no rounding.
    function _add(uint32 w, int256 significand, uint256 exponent) private pure returns (uint32) {
        (uint256 exponentW, uint256 magnitudeW) = _split(w);
        int256 sum = _signed(w, magnitudeW);
        if (significand == 0) return sum == 0 ? 0 : w; // -0.0 + 0.0 is +0.0
        if (sum == 0 || exponent > exponentW + 64) {
            sum = significand;
        } else if (exponentW > exponent + 64) {
            return w;
        } else if (exponentW > exponent) {
            sum = (sum << (exponentW - exponent)) + significand;
        } else {
            sum += significand << (exponent - exponentW);
            exponent = exponentW;
        }
        if (sum == 0) return 0;
        uint256 magnitude = sum < 0 ? uint256(-sum) : uint256(sum);
        // From here the value is magnitude * 2^(exponent - 150).
        (magnitude, exponent) = _round(magnitude, exponent);
        return (sum < 0 ? SIGN : 0) | _join(magnitude, exponent);
    }

    function isFinite(uint32 bits) internal pure returns (bool) {
        return bits & INFINITY != INFINITY;
    }

    /// @dev value = significand * 2^(exponent - 150), exponent at least 1.
    function _split(uint32 bits) private pure returns (uint256 exponent, uint256 significand) {
        exponent = (bits >> 23) & 0xff;
        significand = bits & 0x7fffff;
        if (exponent == 0) exponent = 1;
        else significand |= HIDDEN;
    }

    function _signed(uint32 bits, uint256 magnitude) private pure returns (int256) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return bits >> 31 == 0 ? int256(magnitude) : -int256(magnitude);
    }

    /// @dev Drops what exceeds 24 bits, to nearest, ties to even. May end one bit wider, at 2^24.
    function _round(uint256 magnitude, uint256 exponent) private pure returns (uint256, uint256) {
        if (magnitude < LIMIT) return (magnitude, exponent);
        uint256 down = Math.log2(magnitude) - 23;
        uint256 rest = magnitude & ((1 << down) - 1);
        uint256 half = 1 << (down - 1);
        magnitude >>= down;
        if (rest > half || (rest == half && magnitude & 1 == 1)) ++magnitude;
        return (magnitude, exponent + down);
    }

    /// @dev Bits of magnitude * 2^(exponent - 150), magnitude at most 2^24 and not zero, without a sign.
    function _join(uint256 magnitude, uint256 exponent) private pure returns (uint32) {
        if (magnitude == LIMIT) return exponent + 1 >= 0xff ? INFINITY : uint32((exponent + 1) << 23);
        uint256 up = 23 - Math.log2(magnitude);
        if (up >= exponent) return uint32(magnitude << (exponent - 1)); // subnormal: its exponent is 1
        exponent -= up;
        if (exponent >= 0xff) return INFINITY;
        return uint32((exponent << 23) | ((magnitude << up) & 0x7fffff));
    }
}
