// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Inner products of float32 values on the grid
/// @notice As `Grid.toInteger` of each value, but in one loop over calldata: thousands of values fit into a transaction.
library DotProduct {
    /// @notice The sum of products of the grid integers of values, each a float32, little-endian.
    /// @param left, right Of equal length, at most 2^14 bytes.
    /// @param gridBits At most 126.
    /// @return canonical Whether all may stand in an update.
    function sumOf(bytes calldata left, bytes calldata right, uint8 gridBits)
        internal
        pure
        returns (bool canonical, int256 sum)
    {
        // slither-disable-start assembly,too-many-digits
        assembly ("memory-safe") {
            // The grid integer of a float32 whose bytes stand in the low 32 bits of x as in a file, and zero or more that
            // says it is none.
            function integerOf(x, bits) -> q, wrong {
                x := or(shl(8, and(x, 0x00ff00ff)), shr(8, and(x, 0xff00ff00)))
                x := and(or(shl(16, x), shr(16, x)), 0xffffffff)
                if x {
                    let significand := or(and(x, 0x7fffff), 0x800000)
                    let scale := add(and(shr(23, x), 0xff), bits)
                    switch lt(scale, 150)
                    case 0 { q := shl(sub(scale, 150), significand) }
                    default {
                        let down := sub(150, scale)
                        q := shr(down, significand)
                        wrong := xor(shl(down, q), significand)
                    }
                    wrong := or(wrong, gt(q, 0x1000000))
                    if shr(31, x) { q := sub(0, q) }
                }
            }
            let wrong := 0
            for { let at := 0 } lt(at, left.length) { at := add(at, 4) } {
                let p, badLeft := integerOf(shr(224, calldataload(add(left.offset, at))), gridBits)
                let q, badRight := integerOf(shr(224, calldataload(add(right.offset, at))), gridBits)
                wrong := or(wrong, or(badLeft, badRight))
                sum := add(sum, mul(p, q))
            }
            canonical := iszero(wrong)
        }
        // slither-disable-end assembly,too-many-digits
    }
}
