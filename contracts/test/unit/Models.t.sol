// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    AGGREGATOR,
    AUDITOR,
    ICairn,
    Model,
    ModelId,
    PARTICIPANT,
    Phase,
    READER,
    Version
} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";

contract ModelsTest is Base {
    function test_constants_are_the_specified_ones() public view {
        same(PARTICIPANT, 1, "PARTICIPANT");
        same(AGGREGATOR, 2, "AGGREGATOR");
        same(AUDITOR, 4, "AUDITOR");
        same(READER, 8, "READER");
        same(cairn.MAX_WEIGHT(), 2 ** 28, "MAX_WEIGHT");
        same(cairn.RULES().MIN_DURATION(), 30, "MIN_DURATION");
        same(cairn.RULES().MAX_DURATION(), 7_776_000, "MAX_DURATION");
    }

    function test_ids_are_hashes_of_what_they_name() public view {
        bytes32 expected = keccak256(abi.encode(block.chainid, address(cairn), OWNER, GENESIS));
        same(ModelId.unwrap(modelId), expected, "model id");
        same(ModelId.unwrap(cairn.modelIdOf(OWNER, GENESIS)), expected, "modelIdOf");
    }

    function test_roundIdOf_hashes_model_and_number(uint64 number) public view {
        bytes32 expected = keccak256(abi.encode(modelId, number));
        check(keccak256(abi.encode(cairn.roundIdOf(modelId, number))) == keccak256(abi.encode(expected)), "round id");
    }

    function test_registerModel_reverts_on_zero_digest() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.ZeroDigest.selector));
        cairn.registerModel(0, GENESIS_ROOT, REST);
    }

    function test_registerModel_reverts_on_zero_roots() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.ZeroRoot.selector));
        cairn.registerModel(GENESIS, 0, REST);
        vm.expectRevert(abi.encodeWithSelector(ICairn.ZeroRoot.selector));
        cairn.registerModel(GENESIS, GENESIS_ROOT, 0);
    }

    function test_registerModel_reverts_when_it_exists() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.ModelExists.selector, modelId));
        vm.prank(OWNER);
        cairn.registerModel(GENESIS, GENESIS_ROOT, REST);
    }

    function test_registerModel_gives_another_owner_another_model() public {
        vm.prank(STRANGER);
        ModelId other = cairn.registerModel(GENESIS, GENESIS_ROOT, REST);
        check(ModelId.unwrap(other) != ModelId.unwrap(modelId), "ids differ");
        same(cairn.model(other).owner, STRANGER, "owner");
    }

    function test_registerModel_anchors_the_genesis(bytes32 digest, bytes32 root) public {
        vm.assume(digest != 0 && root != 0);
        ModelId expected = cairn.modelIdOf(STRANGER, digest);
        expectEvent(address(cairn));
        emit ICairn.ModelRegistered(expected, STRANGER, digest, root, REST);
        vm.prank(STRANGER);
        ModelId id = cairn.registerModel(digest, root, REST);

        Model memory made = cairn.model(id);
        same(made.owner, STRANGER, "owner");
        same(made.pendingOwner, address(0), "no pending owner");
        same(made.head, digest, "head");
        same(uint256(made.participants) + made.rounds + made.plans, 0, "nothing else yet");
        check(!made.suspended, "not suspended");
        Version memory genesis = cairn.version(id, digest);
        check(genesis.known && genesis.outsideRound && !genesis.deprecated, "known, outside a round, sound");
        same(genesis.parent, 0, "a genesis has no parent");
        same(genesis.roots, hashOf(rootsOf(root, REST)), "roots");
    }

    function test_views_of_unknown_things_are_zeros() public view {
        ModelId nobody = ModelId.wrap("nobody");
        same(keccak256(abi.encode(cairn.model(nobody))), keccak256(new bytes(7 * 32)), "model");
        same(keccak256(abi.encode(cairn.version(modelId, "?"))), keccak256(new bytes(5 * 32)), "version");
        same(keccak256(abi.encode(cairn.version(modelId, 0))), keccak256(new bytes(5 * 32)), "version zero");
        same(keccak256(abi.encode(cairn.member(nobody, OWNER))), keccak256(new bytes(2 * 32)), "member");
        same(keccak256(abi.encode(cairn.round(modelId, 1))), keccak256(new bytes(16 * 32)), "round");
        same(uint256(cairn.phase(modelId, 1)), uint256(Phase.None), "phase");
        same(cairn.attestation(modelId, 1, OWNER), 0, "attestation");
        (uint32 count, uint32 contributions) = cairn.votes(modelId, 1, 0);
        same(uint256(count) + contributions, 0, "votes");
    }

    function test_transferOwnership_reverts_for_unknown_model() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownModel.selector, bytes32("nobody")));
        cairn.transferOwnership(ModelId.wrap("nobody"), STRANGER);
    }

    function test_transferOwnership_reverts_for_all_but_the_owner() public {
        vm.prank(OWNER);
        cairn.transferOwnership(modelId, STRANGER);
        address[3] memory callers = [STRANGER, participants[0], aggregators[0]];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(notOwner(callers[i]));
            vm.prank(callers[i]);
            cairn.transferOwnership(modelId, callers[i]);
        }
    }

    function test_transferOwnership_only_offers() public {
        expectEvent(address(cairn));
        emit ICairn.OwnershipTransferStarted(modelId, OWNER, STRANGER);
        vm.prank(OWNER);
        cairn.transferOwnership(modelId, STRANGER);
        same(cairn.model(modelId).owner, OWNER, "owner stays");
        same(cairn.model(modelId).pendingOwner, STRANGER, "offered");
    }

    function test_transferOwnership_to_zero_withdraws_the_offer() public {
        vm.startPrank(OWNER);
        cairn.transferOwnership(modelId, STRANGER);
        cairn.transferOwnership(modelId, address(0));
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotPendingOwner.selector, modelId, STRANGER));
        vm.prank(STRANGER);
        cairn.acceptOwnership(modelId);
    }

    function test_acceptOwnership_reverts_for_unknown_model() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownModel.selector, bytes32("nobody")));
        vm.prank(address(0));
        cairn.acceptOwnership(ModelId.wrap("nobody"));
    }

    function test_acceptOwnership_reverts_for_all_but_the_pending_owner() public {
        vm.prank(OWNER);
        cairn.transferOwnership(modelId, STRANGER);
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotPendingOwner.selector, modelId, OWNER));
        vm.prank(OWNER);
        cairn.acceptOwnership(modelId);
    }

    function test_acceptOwnership_moves_everything_to_the_new_owner() public {
        vm.prank(OWNER);
        cairn.transferOwnership(modelId, STRANGER);
        expectEvent(address(cairn));
        emit ICairn.OwnershipTransferred(modelId, OWNER, STRANGER);
        vm.prank(STRANGER);
        cairn.acceptOwnership(modelId);

        same(cairn.model(modelId).owner, STRANGER, "owner");
        same(cairn.model(modelId).pendingOwner, address(0), "offer taken");
        vm.expectRevert(notOwner(OWNER));
        vm.prank(OWNER);
        cairn.suspendRounds(modelId);
        vm.expectRevert(abi.encodeWithSelector(ICairn.ModelExists.selector, modelId));
        vm.prank(OWNER);
        cairn.registerModel(GENESIS, GENESIS_ROOT, REST);
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotPendingOwner.selector, modelId, STRANGER));
        vm.prank(STRANGER);
        cairn.acceptOwnership(modelId);
    }

    function test_suspend_and_resume_revert_for_all_but_the_owner() public {
        vm.expectRevert(notOwner(participants[0]));
        vm.prank(participants[0]);
        cairn.suspendRounds(modelId);
        vm.expectRevert(notOwner(aggregators[0]));
        vm.prank(aggregators[0]);
        cairn.resumeRounds(modelId);
    }

    function test_suspend_and_resume_revert_when_already_so() public {
        vm.startPrank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(ICairn.NotSuspended.selector, modelId));
        cairn.resumeRounds(modelId);
        cairn.suspendRounds(modelId);
        vm.expectRevert(abi.encodeWithSelector(ICairn.AlreadySuspended.selector, modelId));
        cairn.suspendRounds(modelId);
        vm.stopPrank();
    }

    function test_suspended_models_open_no_round_until_resumed() public {
        vm.startPrank(OWNER);
        expectEvent(address(cairn));
        emit ICairn.RoundsSuspended(modelId);
        cairn.suspendRounds(modelId);
        check(cairn.model(modelId).suspended, "suspended");
        vm.expectRevert(abi.encodeWithSelector(ICairn.RoundsAreSuspended.selector, modelId));
        cairn.openRound(modelId);
        expectEvent(address(cairn));
        emit ICairn.RoundsResumed(modelId);
        cairn.resumeRounds(modelId);
        check(!cairn.model(modelId).suspended, "resumed");
        same(cairn.openRound(modelId), 1, "opens again");
        vm.stopPrank();
    }

    function test_suspending_leaves_the_open_round_alone() public {
        uint64 number = open();
        vm.prank(OWNER);
        cairn.suspendRounds(modelId);
        commitAll(number);
        forward(COMMIT + PUBLISH);
        agree(number, someResult("v1"));
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, number, someResult("v1"));
        same(cairn.model(modelId).head, "v1", "head moved");
    }
}
