// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Plan} from "./ICairn.sol";

/// @title Rules: what a plan may say
/// @notice Asked by Cairn when a plan is set. It stores nothing and knows no model.
interface IRules {
    // ---------------------------------------------------------------------------------------------------------- Errors

    error BadRule(uint16 combineRule, uint16 serverRule);
    error BadGrid(uint8 gridBits, uint8 max);
    error BadQuorum(uint16 quorum);
    error BadWeightCap(uint32 weightCap, uint32 max);
    error BadMinContributions(uint32 minContributions);
    error BadDuration(uint32 duration, uint32 min, uint32 max);
    error BadAnswerDuration(uint32 answerDuration, uint32 min, uint32 max);

    // ------------------------------------------------------------------------------------------------------- Constants

    // slither-disable-start naming-convention
    function MAX_GRID_BITS() external view returns (uint8); // 126
    function MIN_DURATION() external view returns (uint32); // 30 seconds
    function MAX_DURATION() external view returns (uint32); // 90 days
    /// @notice Answer times that a challenge window holds at least: a hidden tree of 2^31 leaves is walked to any of them.
    function WALK_STEPS() external view returns (uint32); // 32
    // slither-disable-end naming-convention

    // ----------------------------------------------------------------------------------------------------------- Views

    /// @notice Reverts unless every field of the plan is one that rounds can run under.
    function requirePlan(Plan calldata plan) external pure;
}
