// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Phase, SignedUpdate} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";
import {AnsweringWallet, Wallet, WritingWallet} from "../mocks/Wallet.sol";

contract DelegationTest is Base {
    uint64 internal number;

    function setUp() public override {
        super.setUp();
        number = open();
    }

    function signedBy(uint256 key, address participant) internal view returns (bytes memory) {
        SignedUpdate memory u = updateOf(participant);
        sign(key, number, u);
        return u.signature;
    }

    function relay(address participant, bytes memory signature) internal {
        SignedUpdate memory u = updateOf(participant);
        u.signature = signature;
        vm.prank(STRANGER);
        cairn.commitUpdateFor(modelId, number, u);
    }

    function refuses(address participant, bytes memory signature) internal {
        vm.expectRevert(abi.encodeWithSelector(ICairn.BadSignature.selector, participant));
        relay(participant, signature);
    }

    function grant(address account) internal returns (address) {
        vm.prank(OWNER);
        cairn.grantRoles(modelId, account, P);
        return account;
    }

    function test_commitmentHash_is_the_eip712_digest() public view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Cairn"),
                keccak256("1"),
                block.chainid,
                address(cairn)
            )
        );
        bytes32 typehash = keccak256(
            "Commitment(bytes32 modelId,uint64 round,address participant,bytes32 digest,bytes32 tensorRoot,uint32 weight,uint32 steps,bytes[] hookData,uint64 validUntil)"
        );
        SignedUpdate memory u = updateOf(participants[0]);
        u.validUntil = 1_234_567;
        u.hookData = new bytes[](2);
        (u.hookData[0], u.hookData[1]) = ("some data", "other data");
        bytes32 hookHash = keccak256(abi.encodePacked(keccak256("some data"), keccak256("other data")));
        bytes32 content = keccak256(
            bytes.concat(
                abi.encode(typehash, modelId, number, participants[0], DIGEST, ROOT, WEIGHT, STEPS),
                abi.encode(hookHash, u.validUntil)
            )
        );
        bytes32 expected = keccak256(abi.encodePacked(hex"1901", domain, content));
        same(cairn.commitmentHash(modelId, number, u), expected, "digest");
        u.hookData = new bytes[](0);
        content = keccak256(
            bytes.concat(
                abi.encode(typehash, modelId, number, participants[0], DIGEST, ROOT, WEIGHT, STEPS),
                abi.encode(keccak256(""), u.validUntil)
            )
        );
        expected = keccak256(abi.encodePacked(hex"1901", domain, content));
        same(cairn.commitmentHash(modelId, number, u), expected, "digest without hook data");
    }

    function test_commitUpdateFor_an_eoa_is_as_if_it_had_committed() public {
        address participant = participants[0];
        bytes32 expected = extended(runningHash(number), participant, DIGEST, ROOT, WEIGHT, STEPS);
        bytes memory signature = signedBy(keyOf[participant], participant);
        expectEvent(address(cairn));
        emit ICairn.UpdateCommitted(roundId(number), participant, DIGEST, ROOT, WEIGHT, STEPS);
        relay(participant, signature);
        same(runningHash(number), expected, "running hash");
        same(cairn.member(modelId, participant).lastRound, number, "last round");
        same(cairn.member(modelId, STRANGER).lastRound, 0, "the sender's is untouched");
    }

    function test_commitUpdateFor_keeps_every_rule_of_a_commit() public {
        address participant = participants[0];
        bytes memory signature = signedBy(keyOf[participant], participant);
        relay(participant, signature);
        vm.expectRevert(abi.encodeWithSelector(ICairn.AlreadyCommitted.selector, roundId(number), participant));
        relay(participant, signature);

        signature = signedBy(keyOf[participants[1]], participants[1]);
        forward(COMMIT);
        vm.expectRevert(wrongPhase(number, Phase.Commit, Phase.Publish));
        relay(participants[1], signature);
    }

    function test_commitUpdateFor_reverts_after_its_last_second() public {
        address participant = participants[0];
        SignedUpdate memory u = updateOf(participant);
        // Zero is a time like others, long past: nothing stands for a signature without an end.
        uint64[3] memory past = [uint64(0), uint64(START - 1), uint64(START + 6)];
        for (uint256 i = 0; i < 3; ++i) {
            u.validUntil = past[i];
            sign(keyOf[participant], number, u);
            if (i == 2) forward(7);
            vm.expectRevert(abi.encodeWithSelector(ICairn.SignatureExpired.selector, participant, past[i]));
            cairn.commitUpdateFor(modelId, number, u);
        }
        u.validUntil = uint64(START + 7);
        sign(keyOf[participant], number, u);
        cairn.commitUpdateFor(modelId, number, u);
    }

    function test_commitUpdateFor_reverts_for_a_signer_without_the_role() public {
        bytes memory signature = signedBy(77, vm.addr(77));
        vm.expectRevert(missingRole(vm.addr(77), P));
        relay(vm.addr(77), signature);
    }

    function test_commitUpdateFor_reverts_for_another_key() public {
        refuses(participants[0], signedBy(keyOf[participants[1]], participants[0]));
    }

    function test_commitUpdateFor_reverts_on_other_lengths(uint8 length) public {
        bytes memory signature = new bytes(length == 65 ? 64 : length);
        refuses(participants[0], signature);
        refuses(participants[0], bytes.concat(signedBy(keyOf[participants[0]], participants[0]), hex"00"));
    }

    function test_commitUpdateFor_nobody_reverts() public {
        // ecrecover answers zero for what it cannot recover; zero is not a signer.
        refuses(address(0), new bytes(65));
    }

    function test_commitUpdateFor_an_eip7702_account_takes_its_key() public {
        address participant = participants[0];
        // EIP-7702: an account whose code is a delegation and which still has its key. The delegate knows no EIP-1271.
        vm.etch(participant, hex"00");
        relay(participant, signedBy(keyOf[participant], participant));
        same(cairn.member(modelId, participant).lastRound, number, "committed");
    }

    function test_commitUpdateFor_a_wallet_takes_its_word() public {
        address wallet = grant(address(new Wallet(vm.addr(9))));
        bytes memory wrong = signedBy(8, wallet);
        refuses(wallet, wrong);
        relay(wallet, signedBy(9, wallet));
        same(cairn.member(modelId, wallet).lastRound, number, "committed");
    }

    function test_commitUpdateFor_a_wallet_that_answers_otherwise_reverts() public {
        bytes4 yes = 0x1626ba7e;
        bytes[4] memory answers =
            [bytes(""), abi.encodePacked(yes), abi.encode(uint256(1)), abi.encodePacked(yes, bytes28("dirty"))];
        for (uint256 i = 0; i < answers.length; ++i) {
            refuses(grant(address(new AnsweringWallet(answers[i]))), "anything");
        }
        relay(grant(address(new AnsweringWallet(abi.encode(yes)))), "anything");
    }

    function test_commitUpdateFor_a_wallet_that_writes_reverts() public {
        WritingWallet wallet = new WritingWallet();
        refuses(grant(address(wallet)), "anything");
        same(wallet.asked(), 0, "asked statically");
    }
}
