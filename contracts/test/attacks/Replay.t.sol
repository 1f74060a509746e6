// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {ICairn, ModelId, SignedUpdate} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";
import {Deploy} from "../support/Deploy.sol";

/// @notice A signature commits one update of one participant to one round of one model on one chain, once.
contract ReplayTest is Base {
    struct Signed {
        ModelId modelId;
        uint64 number;
        SignedUpdate update;
    }

    uint256 internal constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    Signed internal said;
    uint256 internal key;

    function setUp() public override {
        super.setUp();
        uint64 number = open();
        key = keyOf[participants[0]];
        SignedUpdate memory u = updateOf(participants[0]);
        u.validUntil = uint64(time()) + COMMIT / 2;
        sign(key, number, u);
        (said.modelId, said.number) = (modelId, number);
        (said.update.participant, said.update.digest, said.update.tensorRoot) = (u.participant, u.digest, u.tensorRoot);
        (said.update.weight, said.update.steps, said.update.validUntil) = (u.weight, u.steps, u.validUntil);
        said.update.signature = u.signature;
    }

    function send(Cairn to, Signed memory s) internal {
        to.commitUpdateFor(s.modelId, s.number, s.update);
    }

    function refuses(Cairn to, Signed memory s) internal {
        vm.expectRevert(abi.encodeWithSelector(ICairn.BadSignature.selector, s.update.participant));
        send(to, s);
    }

    function test_replay_in_the_same_round_reverts() public {
        send(cairn, said);
        vm.expectRevert(abi.encodeWithSelector(ICairn.AlreadyCommitted.selector, roundId(1), said.update.participant));
        send(cairn, said);
    }

    function test_replay_in_the_next_round_reverts() public {
        send(cairn, said);
        forward(COMMIT + PUBLISH + AGGREGATE);
        Signed memory next = said;
        next.number = open();
        next.update.validUntil = type(uint64).max;
        refuses(cairn, next);
        // And the old one does not come back to life.
        vm.expectRevert();
        send(cairn, said);
    }

    function test_replay_in_another_model_reverts() public {
        vm.startPrank(OWNER);
        ModelId other = cairn.registerModel("other", GENESIS_ROOT, REST);
        cairn.setPlan(other, somePlan(), someRules());
        cairn.grantRoles(other, said.update.participant, P);
        cairn.openRound(other);
        vm.stopPrank();
        Signed memory s = said;
        s.modelId = other;
        refuses(cairn, s);
    }

    function test_replay_on_another_contract_reverts() public {
        Cairn other = Deploy.cairn();
        vm.startPrank(OWNER);
        Signed memory s = said;
        s.modelId = other.registerModel(GENESIS, GENESIS_ROOT, REST);
        other.setPlan(s.modelId, somePlan(), someRules());
        other.grantRoles(s.modelId, s.update.participant, P);
        other.openRound(s.modelId);
        vm.stopPrank();
        refuses(other, s);
        // Even when it is signed for that contract's model, but under this contract's domain.
        (uint8 v, bytes32 r, bytes32 z) = vm.sign(key, cairn.commitmentHash(s.modelId, s.number, s.update));
        s.update.signature = abi.encodePacked(r, z, v);
        refuses(other, s);
    }

    function test_replay_on_another_chain_reverts() public {
        // A fork of the chain: same contract, same storage, another id.
        vm.chainId(block.chainid + 1);
        refuses(cairn, said);
    }

    function test_replay_for_another_participant_reverts() public {
        Signed memory s = said;
        s.update.participant = participants[1];
        refuses(cairn, s);
    }

    function test_changing_any_field_reverts(uint8 field, uint256 noise) public {
        Signed memory s = said;
        field = uint8(within(field, 0, 7));
        if (field == 0) s.update.digest = bytes32(within(noise, 1, type(uint128).max));
        if (field == 1) s.update.tensorRoot = bytes32(within(noise, 1, type(uint128).max));
        if (field == 2) s.update.weight = uint32(within(noise, WEIGHT + 1, CAP));
        if (field == 3) s.update.hookData = with(abi.encode(noise));
        if (field == 4) s.update.steps = uint32(within(noise, STEPS + 1, 1 << 20));
        if (field == 5) s.update.validUntil += uint64(within(noise, 1, 90 days));
        if (field == 6) s.update.hookData = with("");
        if (field == 7) s.update.hookData = new bytes[](within(noise, 2, 9));
        refuses(cairn, s);
    }

    function test_replay_after_the_signatures_time_reverts() public {
        vm.warp(said.update.validUntil + 1);
        bytes memory reason = abi.encodeWithSelector(
            ICairn.SignatureExpired.selector, said.update.participant, said.update.validUntil
        );
        vm.expectRevert(reason);
        send(cairn, said);
        vm.warp(said.update.validUntil);
        send(cairn, said);
    }

    function test_malleable_twin_of_a_signature_reverts() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, cairn.commitmentHash(modelId, said.number, said.update));
        bytes32 twin = bytes32(ORDER - uint256(s));
        said.update.signature = abi.encodePacked(r, twin, v == 27 ? uint8(28) : uint8(27));
        refuses(cairn, said);
    }

    function test_compact_form_of_a_signature_reverts() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, cairn.commitmentHash(modelId, said.number, said.update));
        said.update.signature = abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
        refuses(cairn, said);
    }

    function test_flipping_any_bit_of_a_signature_reverts(uint256 bit) public {
        bytes memory changed = said.update.signature;
        bit = within(bit, 0, 65 * 8 - 1);
        changed[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        said.update.signature = changed;
        refuses(cairn, said);
    }

    function test_revoked_participants_signature_reverts() public {
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, said.update.participant, P);
        vm.expectRevert(missingRole(said.update.participant, P));
        send(cairn, said);
    }
}
