// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Grant, ICairn, Member, Phase} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";

contract MembersTest is Base {
    function grant(address account, uint8 roles) internal {
        vm.prank(OWNER);
        cairn.grantRoles(modelId, account, roles);
    }

    function revoke(address account, uint8 roles) internal {
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, account, roles);
    }

    function one(address account, uint8 roles) internal pure returns (Grant[] memory grants) {
        grants = new Grant[](1);
        grants[0] = Grant(account, roles);
    }

    function test_all_changes_revert_for_all_but_the_owner() public {
        address[3] memory callers = [STRANGER, participants[0], aggregators[0]];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.startPrank(callers[i]);
            vm.expectRevert(notOwner(callers[i]));
            cairn.grantRoles(modelId, callers[i], A);
            vm.expectRevert(notOwner(callers[i]));
            cairn.revokeRoles(modelId, participants[1], P);
            vm.expectRevert(notOwner(callers[i]));
            cairn.grantRolesBatch(modelId, one(callers[i], A));
            vm.expectRevert(notOwner(callers[i]));
            cairn.revokeRolesBatch(modelId, one(participants[1], P));
            vm.stopPrank();
        }
    }

    function test_grantRoles_reverts_on_zero_account() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.ZeroAddress.selector));
        grant(address(0), P);
    }

    function test_roles_that_are_empty_or_unknown_revert(uint8 roles) public {
        roles = roles == 0 ? 0 : roles | 32;
        vm.expectRevert(abi.encodeWithSelector(ICairn.BadRoles.selector, roles));
        grant(STRANGER, roles);
        vm.expectRevert(abi.encodeWithSelector(ICairn.BadRoles.selector, roles));
        revoke(STRANGER, roles);
    }

    function test_grantRoles_adds_bits_and_tells_all_of_them() public {
        grant(STRANGER, 4);
        expectEvent(address(cairn));
        emit ICairn.RolesChanged(modelId, STRANGER, 5);
        grant(STRANGER, P);
        same(cairn.member(modelId, STRANGER).roles, 5, "roles");
        same(cairn.model(modelId).participants, 4, "participants");
    }

    function test_changes_of_nothing_are_silent() public {
        vm.recordLogs();
        grant(participants[0], P);
        revoke(participants[0], A);
        revoke(STRANGER, 15);
        same(vm.getRecordedLogs().length, 0, "no event");
        same(cairn.model(modelId).participants, 3, "participants");
    }

    function test_revokeRoles_clears_bits_and_keeps_the_last_round() public {
        uint64 number = open();
        commit(participants[0], number);
        grant(participants[0], 8);
        expectEvent(address(cairn));
        emit ICairn.RolesChanged(modelId, participants[0], 8);
        revoke(participants[0], P | A);
        Member memory held = cairn.member(modelId, participants[0]);
        same(held.roles, 8, "roles");
        same(held.lastRound, number, "last round");
        same(cairn.model(modelId).participants, 2, "participants");
    }

    function test_batches_do_what_single_calls_do() public {
        Grant[] memory grants = new Grant[](3);
        grants[0] = Grant(STRANGER, P);
        grants[1] = Grant(STRANGER, A);
        grants[2] = Grant(participants[0], P | 8);
        vm.startPrank(OWNER);
        cairn.grantRolesBatch(modelId, grants);
        same(cairn.member(modelId, STRANGER).roles, 3, "twice the same account");
        same(cairn.member(modelId, participants[0]).roles, 9, "added to what was held");
        same(cairn.model(modelId).participants, 4, "participants");
        cairn.revokeRolesBatch(modelId, grants);
        same(cairn.member(modelId, STRANGER).roles, 0, "revoked");
        same(cairn.model(modelId).participants, 2, "participants after");
        vm.stopPrank();
    }

    function test_batches_are_all_or_nothing() public {
        Grant[] memory grants = new Grant[](2);
        grants[0] = Grant(STRANGER, P);
        vm.expectRevert(abi.encodeWithSelector(ICairn.ZeroAddress.selector));
        vm.prank(OWNER);
        cairn.grantRolesBatch(modelId, grants);
        same(cairn.member(modelId, STRANGER).roles, 0, "undone");
    }

    function test_roles_follow_bit_arithmetic(uint8[16] memory steps) public {
        uint8 expected;
        for (uint256 i = 0; i < steps.length; ++i) {
            uint8 roles = uint8(within(steps[i], 1, 15));
            if (steps[i] >= 128) {
                grant(STRANGER, roles);
                expected |= roles;
            } else {
                revoke(STRANGER, roles);
                expected &= ~roles;
            }
            same(cairn.member(modelId, STRANGER).roles, expected, "roles");
            same(cairn.model(modelId).participants, 3 + (expected & P), "participants");
        }
    }
}
