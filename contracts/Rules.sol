// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Plan} from "./interfaces/ICairn.sol";
import {IRules} from "./interfaces/IRules.sol";

/// @title Rules
/// @notice What it does is said in `interfaces/IRules.sol`.
contract Rules is IRules {
    /// @inheritdoc IRules
    uint8 public constant MAX_GRID_BITS = 126;
    /// @inheritdoc IRules
    uint32 public constant MIN_DURATION = 30 seconds;
    /// @inheritdoc IRules
    uint32 public constant MAX_DURATION = 90 days;
    /// @inheritdoc IRules
    uint32 public constant WALK_STEPS = 32;
    /// @dev Cairn's.
    uint32 private constant MAX_WEIGHT = 1 << 28;

    /// @inheritdoc IRules
    function requirePlan(Plan calldata p) external pure {
        if (p.combineRule == 0 || p.serverRule == 0) revert BadRule(p.combineRule, p.serverRule);
        if (p.gridBits > MAX_GRID_BITS) revert BadGrid(p.gridBits, MAX_GRID_BITS);
        if (p.quorum == 0) revert BadQuorum(p.quorum);
        if (p.weightCap == 0 || p.weightCap > MAX_WEIGHT) revert BadWeightCap(p.weightCap, MAX_WEIGHT);
        if (p.minContributions == 0) revert BadMinContributions(p.minContributions);
        _requireDuration(p.commitDuration);
        _requireDuration(p.publishDuration);
        _requireDuration(p.aggregateDuration);
        _requireDuration(p.challengeDuration);
        uint32 longest = p.challengeDuration / WALK_STEPS;
        if (p.answerDuration < MIN_DURATION || p.answerDuration > longest) {
            revert BadAnswerDuration(p.answerDuration, MIN_DURATION, longest);
        }
    }

    function _requireDuration(uint32 duration) private pure {
        if (duration < MIN_DURATION || duration > MAX_DURATION) {
            revert BadDuration(duration, MIN_DURATION, MAX_DURATION);
        }
    }
}
