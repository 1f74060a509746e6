// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ICairn, Member, ModelId, PARTICIPANT, Phase, RoundId} from "../interfaces/ICairn.sol";
import {IHook} from "../interfaces/IHook.sol";
import {State} from "./State.sol";

/// @title Commits: updates anchored by their participants, or for them
abstract contract Commits is State {
    /// @dev In the order of the EIP-712 type, so that encoding it encodes the members.
    struct Commitment {
        ModelId modelId;
        uint64 number;
        address participant;
        bytes32 digest;
        bytes32 tensorRoot;
        uint32 weight;
    }

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant COMMITMENT_TYPEHASH = keccak256(
        "Commitment(bytes32 modelId,uint64 round,address participant,bytes32 digest,bytes32 tensorRoot,"
        "uint32 weight,bytes hookData)"
    );

    /// @inheritdoc ICairn
    function commitUpdate(ModelId modelId, uint64 number, bytes32 digest, bytes32 tensorRoot, uint32 weight) external {
        _commit(Commitment(modelId, number, msg.sender, digest, tensorRoot, weight), msg.data[:0]);
    }

    /// @inheritdoc ICairn
    function commitUpdate(
        ModelId modelId,
        uint64 number,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        bytes calldata hookData
    ) external {
        _commit(Commitment(modelId, number, msg.sender, digest, tensorRoot, weight), hookData);
    }

    /// @inheritdoc ICairn
    function commitUpdateFor(
        address participant,
        ModelId modelId,
        uint64 number,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        bytes calldata hookData,
        bytes calldata signature
    ) external {
        Commitment memory c = Commitment(modelId, number, participant, digest, tensorRoot, weight);
        if (!_signed(participant, _commitmentHash(c, hookData), signature)) revert BadSignature(participant);
        _commit(c, hookData);
    }

    /// @inheritdoc ICairn
    function commitmentHash(
        address participant,
        ModelId modelId,
        uint64 number,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        bytes calldata hookData
    ) external view returns (bytes32) {
        return _commitmentHash(Commitment(modelId, number, participant, digest, tensorRoot, weight), hookData);
    }

    function _commit(Commitment memory c, bytes calldata hookData) private {
        RoundId roundId = _roundId(c.modelId, c.number);
        RoundState storage state = _rounds[roundId];
        Terms memory terms = state.terms;
        Phase actual = _phase(terms);
        if (actual != Phase.Commit) {
            _requireOpened(c.modelId, c.number, terms);
            revert WrongPhase(roundId, Phase.Commit, actual);
        }
        Member storage slot = _members[c.modelId][c.participant];
        // Not copied to memory: every commit would pay for it.
        (uint8 roles, uint64 lastRound) = (slot.roles, slot.lastRound);
        if (roles & PARTICIPANT == 0) revert MissingRole(c.modelId, c.participant, PARTICIPANT);
        if (lastRound == c.number) revert AlreadyCommitted(roundId, c.participant);
        if (c.digest == 0) revert ZeroDigest();
        if (c.tensorRoot == 0) revert ZeroRoot();
        if (c.weight == 0 || c.weight > terms.weightCap) revert BadWeight(c.weight, terms.weightCap);

        slot.lastRound = c.number;
        state.runningHash =
            keccak256(abi.encode(state.runningHash, c.participant, c.digest, c.tensorRoot, c.weight));
        emit UpdateCommitted(roundId, c.participant, c.digest, c.tensorRoot, c.weight);

        if (terms.flags & HOOKED != 0) _ask(_plans[c.modelId][terms.planIndex].hook, c, hookData);
    }

    /// @dev Last of all, so that a hook that calls back finds the commitment made.
    function _ask(address hook, Commitment memory c, bytes calldata hookData) private {
        // By hand, so that an answer of any length from any address is a refusal with a name. Its first word is enough.
        // slither-disable-next-line low-level-calls,unused-return
        (bool admitted, bytes32 answer,) = LowLevelCall.callReturn64Bytes(
            hook,
            abi.encodeCall(
                IHook.onCommit, (c.modelId, c.number, c.participant, c.digest, c.tensorRoot, c.weight, hookData)
            )
        );
        uint256 size = LowLevelCall.returnDataSize();
        if (!admitted && size != 0) LowLevelCall.bubbleRevert();
        if (!admitted || size < 32 || answer != bytes32(IHook.onCommit.selector)) revert HookRefused(hook);
    }

    function _commitmentHash(Commitment memory c, bytes calldata hookData) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("Cairn"), keccak256("1"), block.chainid, address(this))
        );
        bytes32 hash = keccak256(abi.encode(COMMITMENT_TYPEHASH, c, keccak256(hookData)));
        return MessageHashUtils.toTypedDataHash(domain, hash);
    }

    /// @dev Key first, then contract: an account that delegates to code (EIP-7702) has both, and its key still counts.
    function _signed(address signer, bytes32 hash, bytes calldata signature) private view returns (bool) {
        // What is left out says why a signature is bad; this function only says that it is.
        // slither-disable-next-line unused-return
        (address recovered, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(hash, signature);
        if (err == ECDSA.RecoverError.NoError && recovered == signer) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(signer, hash, signature);
    }
}
