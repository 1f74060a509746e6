// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId} from "./ICairn.sol";

/// @title A policy asked at each commit
/// @notice An owner names hooks in the plan. Each is called by Cairn in their order, after the commitment is recorded; a
/// revert, or an answer other than the selector, undoes the commitment and what earlier hooks did at it. A hook must check that its caller is the Cairn it serves
/// if it keeps state.
interface IHook {
    /// @param hookData What the participant passed or signed for this hook: a proof, a ticket; empty where nothing is
    /// needed.
    /// @return `IHook.onCommit.selector` to admit.
    function onCommit(
        ModelId modelId,
        uint64 number,
        address participant,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps,
        bytes calldata hookData
    ) external returns (bytes4);
}
