// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {ICairn, ModelId} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";
import {Deploy} from "../support/Deploy.sol";

/// @notice A signature commits one update of one participant to one round of one model on one chain, once.
contract ReplayTest is Base {
    struct Signed {
        address participant;
        ModelId modelId;
        uint64 number;
        bytes32 digest;
        bytes32 tensorRoot;
        uint32 weight;
        bytes hookData;
    }

    uint256 internal constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    Signed internal said;
    bytes internal signature;
    uint256 internal key;

    function setUp() public override {
        super.setUp();
        uint64 number = open();
        address participant = participants[0];
        key = keyOf[participant];
        said = Signed(participant, modelId, number, DIGEST, ROOT, WEIGHT, "");
        signature = sign(said);
    }

    function sign(Signed memory s) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 z) = vm.sign(
            key,
            cairn.commitmentHash(s.participant, s.modelId, s.number, s.digest, s.tensorRoot, s.weight, s.hookData)
        );
        return abi.encodePacked(r, z, v);
    }

    function send(Cairn to, Signed memory s) internal {
        to.commitUpdateFor(
            s.participant, s.modelId, s.number, s.digest, s.tensorRoot, s.weight, s.hookData, signature
        );
    }

    function refuses(Cairn to, Signed memory s) internal {
        vm.expectRevert(abi.encodeWithSelector(ICairn.BadSignature.selector, s.participant));
        send(to, s);
    }

    function test_replay_in_the_same_round_reverts() public {
        send(cairn, said);
        vm.expectRevert(abi.encodeWithSelector(ICairn.AlreadyCommitted.selector, roundId(1), said.participant));
        send(cairn, said);
    }

    function test_replay_in_the_next_round_reverts() public {
        send(cairn, said);
        forward(COMMIT + PUBLISH + AGGREGATE);
        Signed memory next = said;
        next.number = open();
        refuses(cairn, next);
        // And the old one does not come back to life.
        vm.expectRevert();
        send(cairn, said);
    }

    function test_replay_in_another_model_reverts() public {
        vm.startPrank(OWNER);
        ModelId other = cairn.registerModel("other", GENESIS_ROOT, REST);
        cairn.setPlan(other, somePlan(), someRules());
        cairn.grantRoles(other, said.participant, P);
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
        other.grantRoles(s.modelId, s.participant, P);
        other.openRound(s.modelId);
        vm.stopPrank();
        refuses(other, s);
        // Even when it is signed for that contract's model, but under this contract's domain.
        signature = sign(s);
        refuses(other, s);
    }

    function test_replay_on_another_chain_reverts() public {
        // A fork of the chain: same contract, same storage, another id.
        vm.chainId(block.chainid + 1);
        refuses(cairn, said);
    }

    function test_replay_for_another_participant_reverts() public {
        Signed memory s = said;
        s.participant = participants[1];
        refuses(cairn, s);
    }

    function test_changing_any_field_reverts(uint8 field, uint256 noise) public {
        Signed memory s = said;
        field = uint8(within(field, 0, 3));
        if (field == 0) s.digest = bytes32(within(noise, 1, type(uint128).max));
        if (field == 1) s.tensorRoot = bytes32(within(noise, 1, type(uint128).max));
        if (field == 2) s.weight = uint32(within(noise, WEIGHT + 1, CAP));
        if (field == 3) s.hookData = abi.encode(noise);
        refuses(cairn, s);
    }

    function test_malleable_twin_of_a_signature_reverts() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(
            key, cairn.commitmentHash(said.participant, modelId, said.number, DIGEST, ROOT, WEIGHT, "")
        );
        bytes32 twin = bytes32(ORDER - uint256(s));
        signature = abi.encodePacked(r, twin, v == 27 ? uint8(28) : uint8(27));
        refuses(cairn, said);
    }

    function test_compact_form_of_a_signature_reverts() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(
            key, cairn.commitmentHash(said.participant, modelId, said.number, DIGEST, ROOT, WEIGHT, "")
        );
        signature = abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
        refuses(cairn, said);
    }

    function test_flipping_any_bit_of_a_signature_reverts(uint256 bit) public {
        bytes memory changed = signature;
        bit = within(bit, 0, 65 * 8 - 1);
        changed[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        signature = changed;
        refuses(cairn, said);
    }

    function test_revoked_participants_signature_reverts() public {
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, said.participant, P);
        vm.expectRevert(missingRole(said.participant, P));
        send(cairn, said);
    }
}
