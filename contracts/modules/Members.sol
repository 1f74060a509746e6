// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    AGGREGATOR, AUDITOR, Grant, ICairn, Member, ModelId, PARTICIPANT, READER, VALIDATOR
} from "../interfaces/ICairn.sol";
import {State} from "./State.sol";

/// @title Members: who may do what, one word each
abstract contract Members is State {
    uint8 private constant ALL_ROLES = PARTICIPANT | AGGREGATOR | AUDITOR | READER | VALIDATOR;

    /// @inheritdoc ICairn
    function grantRoles(ModelId modelId, address account, uint8 roles) external {
        _grant(_owned(modelId), modelId, account, roles);
    }

    /// @inheritdoc ICairn
    function revokeRoles(ModelId modelId, address account, uint8 roles) external {
        _revoke(_owned(modelId), modelId, account, roles);
    }

    /// @inheritdoc ICairn
    function grantRolesBatch(ModelId modelId, Grant[] calldata grants) external {
        ModelState storage state = _owned(modelId);
        for (uint256 i = 0; i < grants.length; ++i) {
            _grant(state, modelId, grants[i].account, grants[i].roles);
        }
    }

    /// @inheritdoc ICairn
    function revokeRolesBatch(ModelId modelId, Grant[] calldata grants) external {
        ModelState storage state = _owned(modelId);
        for (uint256 i = 0; i < grants.length; ++i) {
            _revoke(state, modelId, grants[i].account, grants[i].roles);
        }
    }

    /// @inheritdoc ICairn
    function member(ModelId modelId, address account) external view returns (Member memory) {
        return _members[modelId][account];
    }

    function _grant(ModelState storage state, ModelId modelId, address account, uint8 roles) private {
        if (account == address(0)) revert ZeroAddress();
        _requireRoles(roles);
        Member storage held = _members[modelId][account];
        uint8 added = roles & ~held.roles;
        if (added == 0) return;

        held.roles |= added;
        if (added & PARTICIPANT != 0) state.participants += 1;
        emit RolesChanged(modelId, account, held.roles);
    }

    function _revoke(ModelState storage state, ModelId modelId, address account, uint8 roles) private {
        _requireRoles(roles);
        Member storage held = _members[modelId][account];
        uint8 removed = roles & held.roles;
        if (removed == 0) return;

        held.roles &= ~removed;
        if (removed & PARTICIPANT != 0) state.participants -= 1;
        emit RolesChanged(modelId, account, held.roles);
    }

    function _requireRoles(uint8 roles) private pure {
        if (roles == 0 || roles & ~ALL_ROLES != 0) revert BadRoles(roles);
    }
}
