// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Merkle} from "../challenges/Merkle.sol";
import {Dispute, ModelId, Plan, RoundId} from "../interfaces/ICairn.sol";
import {Demand, Demanded, ICourt, OpenDemands, Shown} from "../interfaces/ICourt.sol";
import {Opening} from "../interfaces/IDisputed.sol";
import {Claims} from "./Claims.sol";

/// @title Answers: a demanded leaf is shown, in time or late
abstract contract Answers is Claims {
    /// @inheritdoc ICourt
    uint256 public constant MAX_HEAD = 1024;

    mapping(bytes32 demandId => Demand) internal _demands;
    mapping(RoundId => mapping(bytes32 tally => OpenDemands)) internal _openDemands;

    /// @inheritdoc ICourt
    function showLeaf(Demanded calldata demanded, Opening calldata opening) external {
        Demand storage held = _demands[keccak256(abi.encode(demanded))];
        bytes memory refusal = _refusalOf(held, demanded, opening);
        // slither-disable-next-line incorrect-equality,timestamp
        if (refusal.length == 0) return _show(held, demanded, opening);
        _revert(refusal);
    }

    /// @inheritdoc ICourt
    // No call of its own for each: too little gas would then look like a leaf that cannot be shown.
    function showLeaves(Shown[] calldata shown) external {
        for (uint256 i = 0; i < shown.length; ++i) {
            Demanded calldata demanded = shown[i].demanded;
            Demand storage held = _demands[keccak256(abi.encode(demanded))];
            bytes memory refusal = _refusalOf(held, demanded, shown[i].opening);
            // slither-disable-next-line incorrect-equality,timestamp
            if (refusal.length == 0) _show(held, demanded, shown[i].opening);
            // forge-lint: disable-next-line(unsafe-typecast)
            else emit AnswerSkipped(demanded.roundId, demanded.tally, demanded.root, demanded.index, bytes4(refusal));
        }
    }

    /// @inheritdoc ICourt
    function showLate(
        ModelId modelId,
        uint64 number,
        Demanded calldata demanded,
        Opening calldata opening,
        address[] calldata attesters
    ) external {
        Demand storage held = _openDemand(demanded);
        // slither-disable-next-line timestamp
        if (block.timestamp < held.deadline) revert AnswerNotDue(held.deadline);
        // slither-disable-next-line timestamp
        if (block.timestamp >= held.lateDeadline) revert TooLate(block.timestamp, held.lateDeadline);
        Dispute memory found = CAIRN.dispute(modelId, number);
        // The round as well: another one may have attested the same, with bonds that this answer is not to burn.
        if (found.tally != demanded.tally || RoundId.unwrap(found.roundId) != RoundId.unwrap(demanded.roundId)) {
            revert NotDisputed(modelId, number, demanded.tally);
        }
        bytes memory refusal = _proofRefusalOf(demanded, opening);
        if (refusal.length != 0) _revert(refusal);
        _burnLate(modelId, number, demanded, attesters, 2 * uint256(held.deposit));
        _show(held, demanded, opening);
    }

    /// @inheritdoc ICourt
    function demand(Demanded calldata demanded) external view returns (Demand memory) {
        return _demandOf(demanded);
    }

    /// @inheritdoc ICourt
    function openDemands(RoundId roundId, bytes32 tally) external view returns (OpenDemands memory) {
        return _openDemands[roundId][tally];
    }

    /// @dev Equal shares of what attesters lose by one late answer. The half of each bond that a conviction rewards stays:
    /// else a liar would answer itself late, and leave whoever convicts it nothing to earn. Each held its bond when it
    /// attested, and it has been locked since, so that nobody lacks a share.
    function _burnLate(
        ModelId modelId,
        uint64 number,
        Demanded calldata demanded,
        address[] calldata attesters,
        uint256 amount
    ) private {
        Plan memory plan = _planOf(modelId, number);
        _requireAttesters(modelId, number, demanded.tally, attesters, plan.quorum);
        OpenDemands storage open = _openDemands[demanded.roundId][demanded.tally];
        uint256 left = uint256(plan.quorum) * plan.bondGwei * 0.5 gwei - open.lateBurnt;
        uint256 each = (amount < left ? amount : left) / plan.quorum;
        open.lateBurnt += uint112(_burnBonds(modelId, demanded.roundId, attesters, uint128(each)));
    }

    /// @dev Ascending, as many as the quorum, and each attests this: a quorum is met exactly, so it is all of them.
    function _requireAttesters(
        ModelId modelId,
        uint64 number,
        bytes32 tally,
        address[] calldata attesters,
        uint16 quorum
    ) private view {
        if (attesters.length != quorum) revert WrongAttesterCount(attesters.length, quorum);
        address previous = address(0);
        for (uint256 i = 0; i < attesters.length; ++i) {
            address next = attesters[i];
            // slither-disable-next-line calls-loop
            if (next <= previous || CAIRN.attestation(modelId, number, next) != tally) revert NotAttester(next);
            previous = next;
        }
    }

    function _show(Demand storage held, Demanded calldata demanded, Opening calldata opening) private {
        _close(held, demanded, true);
        _credit(msg.sender, held.deposit);
        emit LeafShown(
            demanded.roundId,
            demanded.tally,
            msg.sender,
            demanded.root,
            demanded.entryBytes,
            demanded.entries,
            demanded.index,
            opening.counted,
            opening.leaf,
            opening.proof
        );
    }

    /// @return The error that says why this is no answer; empty where it is one.
    function _refusalOf(Demand storage held, Demanded calldata demanded, Opening calldata opening)
        private
        view
        returns (bytes memory)
    {
        (bytes32 root, uint64 index) = (demanded.root, demanded.index);
        // slither-disable-next-line incorrect-equality
        if (held.deadline == 0) return abi.encodeWithSelector(NotDemanded.selector, root, index);
        if (held.closed) return abi.encodeWithSelector(DemandIsClosed.selector, root, index);
        // slither-disable-next-line timestamp
        if (block.timestamp >= held.deadline) {
            return abi.encodeWithSelector(TooLate.selector, block.timestamp, held.deadline);
        }
        return _proofRefusalOf(demanded, opening);
    }

    function _proofRefusalOf(Demanded calldata demanded, Opening calldata opening)
        private
        view
        returns (bytes memory)
    {
        (bytes32 root, uint64 index, uint64 count) = (demanded.root, demanded.index, opening.counted.count);
        if (demanded.entries == 0) {
            bool fits = opening.leaf.length <= MAX_HEAD && sha256(opening.leaf) == root;
            return fits ? bytes("") : abi.encodeWithSelector(BadProof.selector, root, index);
        }
        if (Merkle.countedRoot(count, opening.counted.inner) != root) {
            return abi.encodeWithSelector(BadCount.selector, root);
        }
        Rows memory rows = Rows(demanded.entryBytes, demanded.entries);
        uint64 leaves = _chunks(count, rows);
        if (index >= leaves) {
            bool nothing = opening.leaf.length == 0 && opening.proof.length == 0;
            // Nothing stands there that could be shown.
            return nothing ? bytes("") : abi.encodeWithSelector(BadIndex.selector, index, leaves);
        }
        uint256 expected = _chunkBytes(count, index, rows);
        if (opening.leaf.length != expected) {
            return abi.encodeWithSelector(BadLength.selector, opening.leaf.length, expected);
        }
        return _isAt(opening, index, leaves) ? bytes("") : abi.encodeWithSelector(BadProof.selector, root, index);
    }

    function _isAt(Opening calldata opening, uint64 index, uint64 leaves) private view returns (bool) {
        bytes32 hash = Merkle.leafHash(opening.leaf);
        return Merkle.includes(hash, index, leaves, opening.proof, opening.counted.inner);
    }

    function _close(Demand storage held, Demanded calldata demanded, bool answered) internal {
        (held.closed, held.answered) = (true, answered);
        OpenDemands storage open = _openDemands[demanded.roundId][demanded.tally];
        --open.count;
        open.deposits -= held.deposit;
    }

    function _revert(bytes memory reason) private pure {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            revert(add(reason, 32), mload(reason))
        }
    }

    function _openDemand(Demanded calldata demanded) internal view returns (Demand storage held) {
        held = _demands[keccak256(abi.encode(demanded))];
        if (held.deadline == 0) revert NotDemanded(demanded.root, demanded.index);
        if (held.closed) revert DemandIsClosed(demanded.root, demanded.index);
    }

    function _demandOf(Demanded calldata demanded) internal view override returns (Demand memory) {
        return _demands[keccak256(abi.encode(demanded))];
    }

    /// @dev The round names its entry of the plan history, so no later plan changes what is asked.
    function _planOf(ModelId modelId, uint64 number) internal view returns (Plan memory) {
        return CAIRN.plan(modelId, CAIRN.round(modelId, number).planIndex);
    }
}
