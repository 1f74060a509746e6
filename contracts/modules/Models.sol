// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Model, ModelId} from "../interfaces/ICairn.sol";
import {State} from "./State.sol";

/// @title Models: registration, ownership, suspension
abstract contract Models is State {
    /// @inheritdoc ICairn
    function registerModel(bytes32 genesisDigest, bytes32 tensorRoot, bytes32 restRoot)
        external
        returns (ModelId modelId)
    {
        if (genesisDigest == 0) revert ZeroDigest();
        modelId = modelIdOf(msg.sender, genesisDigest);
        ModelState storage state = _models[modelId];
        if (state.owner != address(0)) revert ModelExists(modelId);

        state.owner = msg.sender;
        state.head = genesisDigest;
        _versions[modelId][genesisDigest] = _published(genesisDigest, tensorRoot, restRoot);
        emit ModelRegistered(modelId, msg.sender, genesisDigest, tensorRoot, restRoot);
    }

    /// @inheritdoc ICairn
    function transferOwnership(ModelId modelId, address pendingOwner) external {
        _owned(modelId).pendingOwner = pendingOwner;
        emit OwnershipTransferStarted(modelId, msg.sender, pendingOwner);
    }

    /// @inheritdoc ICairn
    function acceptOwnership(ModelId modelId) external {
        ModelState storage state = _models[modelId];
        address previousOwner = state.owner;
        if (previousOwner == address(0)) revert UnknownModel(modelId);
        if (state.pendingOwner != msg.sender) revert NotPendingOwner(modelId, msg.sender);

        state.owner = msg.sender;
        state.pendingOwner = address(0);
        emit OwnershipTransferred(modelId, previousOwner, msg.sender);
    }

    /// @inheritdoc ICairn
    function suspendRounds(ModelId modelId) external {
        ModelState storage state = _owned(modelId);
        if (state.suspended) revert AlreadySuspended(modelId);
        state.suspended = true;
        emit RoundsSuspended(modelId);
    }

    /// @inheritdoc ICairn
    function resumeRounds(ModelId modelId) external {
        ModelState storage state = _owned(modelId);
        if (!state.suspended) revert NotSuspended(modelId);
        state.suspended = false;
        emit RoundsResumed(modelId);
    }

    /// @inheritdoc ICairn
    function model(ModelId modelId) external view returns (Model memory) {
        ModelState storage state = _models[modelId];
        return Model({
            owner: state.owner,
            pendingOwner: state.pendingOwner,
            head: state.head,
            participants: state.participants,
            rounds: state.rounds,
            plans: state.plans,
            suspended: state.suspended
        });
    }

    /// @inheritdoc ICairn
    function modelIdOf(address owner, bytes32 genesisDigest) public view returns (ModelId) {
        return ModelId.wrap(keccak256(abi.encode(block.chainid, address(this), owner, genesisDigest)));
    }
}
