// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RoundId} from "../../interfaces/ICairn.sol";
import {DotProduct} from "../../selections/DotProduct.sol";
import {Factors} from "../../selections/Factors.sol";
import {Gram} from "../../selections/Gram.sol";

/// @notice Lets a test call the libraries of selections.
contract SelectionsMock {
    /// @notice Factors and divisor, and the gas of the selection alone.
    function choose(bytes calldata rules, RoundId roundId, bytes32 runningHash, bytes calldata products, uint256 count)
        external
        view
        returns (uint256[] memory factors, uint256 divisor, uint256 gasUsed)
    {
        gasUsed = gasleft();
        int256[] memory matrix = Gram.read(products, count);
        (factors, divisor) = Factors.choose(rules, roundId, runningHash, matrix);
        gasUsed -= gasleft();
    }

    /// @notice The sum of products of grid integers, and whether all values have one.
    function dot(bytes calldata left, bytes calldata right, uint8 gridBits)
        external
        pure
        returns (bool canonical, int256 sum)
    {
        return DotProduct.sumOf(left, right, gridBits);
    }
}
