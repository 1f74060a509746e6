// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Plan} from "../interfaces/ICairn.sol";
import {State} from "./State.sol";

/// @title Plans: the standing one and its history
abstract contract Plans is State {
    /// @inheritdoc ICairn
    function setPlan(ModelId modelId, Plan calldata newPlan) external returns (uint32 planIndex) {
        ModelState storage state = _owned(modelId);
        _requireValid(newPlan);

        planIndex = state.plans++;
        _plans[modelId][planIndex] = newPlan;
        emit PlanSet(modelId, planIndex, newPlan);
    }

    /// @inheritdoc ICairn
    function plan(ModelId modelId, uint32 planIndex) external view returns (Plan memory) {
        if (planIndex >= _models[modelId].plans) revert UnknownPlan(modelId, planIndex);
        return _plans[modelId][planIndex];
    }

    function _requireValid(Plan calldata p) private pure {
        if (p.digest == 0) revert ZeroDigest();
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
