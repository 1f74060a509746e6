// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RuleBytes} from "../rules/RuleBytes.sol";

/// @title Where the Gram part stands in a report's head
/// @notice Under rules that select, the head of a report has two words more before its link: `ISelections` says what they
/// mean.
library GramPart {
    /// @dev Most contributions whose inner products are anchored, and whose selection the contract redoes.
    uint256 internal constant MOST = 32;
    /// @dev Coordinates that two neighbouring leaves of one contribution differ by.
    uint64 internal constant ROW_VALUES = 4096;
    /// @dev Of a head without the part: four bytes of DAG-CBOR, 357 of fields, 41 of a link.
    uint256 private constant BODY = 4 + 357;
    uint256 private constant LINK = 41;
    uint256 internal constant BYTES = 64;

    /// @notice Whether the report of so many contributions has the part.
    function isAsked(bytes calldata rules, uint256 contributions) internal pure returns (bool) {
        return RuleBytes.selects(rules) && contributions <= MOST;
    }

    /// @notice Whether the head has its length.
    function fits(bytes calldata head, bool asked) internal pure returns (bool) {
        return head.length == BODY + LINK + (asked ? BYTES : 0);
    }

    /// @notice The part of a head that is long enough; empty else.
    function partOf(bytes calldata head) internal pure returns (bytes calldata) {
        return fits(head, true) ? head[BODY:BODY + BYTES] : head[:0];
    }

    /// @notice The root of the tree of inner products.
    function root(bytes calldata head) internal pure returns (bytes32) {
        return bytes32(head[BODY:BODY + 32]);
    }

    /// @notice Where the segment stands that gives the unit; all ones for none.
    function finest(bytes calldata head) internal pure returns (uint256) {
        return uint256(bytes32(head[BODY + 32:BODY + BYTES]));
    }

    /// @notice How many rows the coordinates make.
    function rows(bytes calldata rules) internal pure returns (uint64) {
        return (RuleBytes.values(rules) + ROW_VALUES - 1) / ROW_VALUES;
    }
}
