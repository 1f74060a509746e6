// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Plan} from "../interfaces/ICairn.sol";
import {State} from "./State.sol";

/// @title Plans: the standing one and its history
abstract contract Plans is State {
    /// @inheritdoc ICairn
    function setPlan(ModelId modelId, Plan memory newPlan, bytes calldata rules) external returns (uint32 planIndex) {
        ModelState storage state = _owned(modelId);
        if (newPlan.digest == 0) revert ZeroDigest();
        RULES.requirePlan(newPlan, rules);

        planIndex = state.plans++;
        _plans[modelId][planIndex] = newPlan;
        emit PlanSet(modelId, planIndex, newPlan, rules);
    }

    /// @inheritdoc ICairn
    function plan(ModelId modelId, uint32 planIndex) external view returns (Plan memory) {
        if (planIndex >= _models[modelId].plans) revert UnknownPlan(modelId, planIndex);
        return _rules(modelId, planIndex);
    }
}
