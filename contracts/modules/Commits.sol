// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ICairn, Member, ModelId, PARTICIPANT, Phase, RoundId, SignedUpdate} from "../interfaces/ICairn.sol";
import {IHook} from "../interfaces/IHook.sol";
import {RunningHash} from "./RunningHash.sol";
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
        uint32 steps;
    }

    /// @dev Chain id at deployment. A fork with another chain id accepts no signed commitments, which prevents the replay
    /// of a signature on both chains.
    uint256 private immutable _chainId = block.chainid;
    bytes32 private immutable _domain = keccak256(
        abi.encode(
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
            keccak256("Cairn"),
            keccak256("1"),
            block.chainid,
            address(this)
        )
    );
    bytes32 private constant COMMITMENT_TYPEHASH = keccak256(
        "Commitment(bytes32 modelId,uint64 round,address participant,bytes32 digest,bytes32 tensorRoot,"
        "uint32 weight,uint32 steps,bytes[] hookData,uint64 validUntil)"
    );

    /// @inheritdoc ICairn
    function commitUpdate(
        ModelId modelId,
        uint64 number,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps
    ) external {
        _commit(Commitment(modelId, number, msg.sender, digest, tensorRoot, weight, steps), _nothing());
    }

    /// @inheritdoc ICairn
    function commitUpdate(
        ModelId modelId,
        uint64 number,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps,
        bytes[] calldata hookData
    ) external {
        _commit(Commitment(modelId, number, msg.sender, digest, tensorRoot, weight, steps), hookData);
    }

    /// @inheritdoc ICairn
    // Seconds: a proposer could at most let a signature count that was to end with the block.
    // slither-disable-next-line timestamp
    function commitUpdateFor(ModelId modelId, uint64 number, SignedUpdate calldata u) external {
        if (block.timestamp > u.validUntil) revert SignatureExpired(u.participant, u.validUntil);
        Commitment memory c = _commitment(modelId, number, u);
        if (block.chainid != _chainId || !_signed(c.participant, _commitmentHash(c, u), u.signature)) {
            revert BadSignature(u.participant);
        }
        _commit(c, u.hookData);
    }

    /// @inheritdoc ICairn
    // Each commitment is a call of its own: what a hook or a signer's contract does to it is undone with it, what it
    // burns is bounded, and nothing is kept here from one to the next. Of what it answers four bytes are read.
    // slither-disable-next-line calls-loop,reentrancy-events
    function commitUpdatesFor(ModelId modelId, uint64 number, SignedUpdate[] calldata updates) external {
        RoundId roundId = _roundId(modelId, number);
        for (uint256 i = 0; i < updates.length; ++i) {
            bytes memory data = abi.encodeCall(ICairn.commitUpdateFor, (modelId, number, updates[i]));
            // A call is given at most 63/64 of what is left (EIP-150). Whoever sends too little skips nobody.
            uint256 needed = COMMIT_GAS + COMMIT_GAS / 32;
            if (gasleft() < needed) revert TooLittleGas(gasleft(), needed);
            uint256 gasEach = COMMIT_GAS;
            bool made;
            bytes4 reason;
            // slither-disable-next-line assembly
            assembly ("memory-safe") {
                mstore(0, 0)
                made := call(gasEach, address(), 0, add(data, 32), mload(data), 0, 4)
                reason := mload(0)
                mstore(0x40, data) // what was encoded is needed no more
            }
            if (!made) emit CommitmentSkipped(roundId, updates[i].participant, reason);
        }
    }

    /// @inheritdoc ICairn
    function commitmentHash(ModelId modelId, uint64 number, SignedUpdate calldata u) external view returns (bytes32) {
        return _commitmentHash(_commitment(modelId, number, u), u);
    }

    function _commit(Commitment memory c, bytes[] calldata hookData) private {
        RoundId roundId = _roundId(c.modelId, c.number);
        RoundState storage state = _rounds[roundId];
        (uint32 weightCap, uint8 flags) = (state.terms.weightCap, state.terms.flags);
        // Phase Commit, in words that read one slot: whatever else ends it leaves its deadline behind.
        // slither-disable-next-line timestamp
        if (block.timestamp >= state.terms.commitDeadline || flags & CANCELLED != 0) {
            _refusePhase(c, roundId, state.terms);
        }
        _markCommitted(c, roundId);
        if (c.digest == 0) revert ZeroDigest();
        if (c.tensorRoot == 0) revert ZeroRoot();
        unchecked {
            // 1 to the most that may be; zero wraps around.
            if (c.weight - 1 >= weightCap) revert BadWeight(c.weight, weightCap);
            if (c.steps - 1 >= MAX_STEPS) revert BadSteps(c.steps, MAX_STEPS);
        }

        state.runningHash =
            RunningHash.extend(state.runningHash, c.participant, c.digest, c.tensorRoot, c.weight, c.steps);
        emit UpdateCommitted(roundId, c.participant, c.digest, c.tensorRoot, c.weight, c.steps);

        if (flags & HOOKED != 0) _askAll(_plans[c.modelId][state.terms.planIndex].hooks, c, hookData);
    }

    /// @dev Requires the role and no earlier commitment in the round, and marks the participant as committed.
    function _markCommitted(Commitment memory c, RoundId roundId) private {
        Member storage held = _members[c.modelId][c.participant];
        if (held.roles & PARTICIPANT == 0) _refuseRole(c.modelId, c.participant, PARTICIPANT);
        if (held.lastRound == c.number) revert AlreadyCommitted(roundId, c.participant);
        held.lastRound = c.number;
    }

    function _refusePhase(Commitment memory c, RoundId roundId, Terms memory terms) private view {
        _requireOpened(c.modelId, c.number, terms);
        _requirePhase(roundId, Phase.Commit, _phase(terms));
    }

    /// @dev Interactions last: a hook that re-enters finds the commitment recorded.
    function _askAll(address[] storage hooks, Commitment memory c, bytes[] calldata hookData) private {
        uint256 count = hooks.length;
        for (uint256 i = 0; i < count; ++i) {
            _ask(hooks[i], c, i < hookData.length ? hookData[i] : msg.data[:0]);
        }
    }

    function _ask(address hook, Commitment memory c, bytes calldata hookData) private {
        // Low-level call: a wrong answer of any length, or an address without code, gives `HookRefused` instead of a
        // failed ABI decoding. Reads the first word only. A hook that burns all gas refuses the commitment, as it may.
        // slither-disable-next-line low-level-calls,unused-return,calls-loop
        (bool admitted, bytes32 answer,) = LowLevelCall.callReturn64Bytes(
            hook,
            abi.encodeCall(
                IHook.onCommit,
                (c.modelId, c.number, c.participant, c.digest, c.tensorRoot, c.weight, c.steps, hookData)
            )
        );
        uint256 size = LowLevelCall.returnDataSize();
        if (!admitted && size != 0) LowLevelCall.bubbleRevert();
        if (!admitted || size < 32 || answer != bytes32(IHook.onCommit.selector)) revert HookRefused(hook);
    }

    function _commitment(ModelId modelId, uint64 number, SignedUpdate calldata u)
        private
        pure
        returns (Commitment memory)
    {
        return Commitment(modelId, number, u.participant, u.digest, u.tensorRoot, u.weight, u.steps);
    }

    function _commitmentHash(Commitment memory c, SignedUpdate calldata u) private view returns (bytes32) {
        // Empty to begin with, for less than writing that costs.
        // slither-disable-next-line uninitialized-local
        bytes memory hashes;
        for (uint256 i = 0; i < u.hookData.length; ++i) {
            hashes = bytes.concat(hashes, keccak256(u.hookData[i]));
        }
        bytes32 hash = keccak256(abi.encode(COMMITMENT_TYPEHASH, c, keccak256(hashes), u.validUntil));
        return MessageHashUtils.toTypedDataHash(_domain, hash);
    }

    /// @dev ECDSA first, then ERC-1271: an account that delegates to code (EIP-7702) has both, and its key stays valid.
    function _signed(address signer, bytes32 hash, bytes calldata signature) private view returns (bool) {
        // What is left out says why a signature is bad; this function only says that it is.
        // slither-disable-next-line unused-return
        (address recovered, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(hash, signature);
        if (err == ECDSA.RecoverError.NoError && recovered == signer) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(signer, hash, signature);
    }

    function _nothing() private pure returns (bytes[] calldata none) {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            none.offset := 0
            none.length := 0
        }
    }
}
