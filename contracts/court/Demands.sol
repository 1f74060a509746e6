// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Merkle} from "../challenges/Merkle.sol";
import {Dispute, ModelId, RoundId} from "../interfaces/ICairn.sol";
import {Demand, Demanded, Fault, Finding, ICourt, Part, Shown} from "../interfaces/ICourt.sol";
import {Basis, Membership, Opening, Target, Tree} from "../interfaces/IDisputed.sol";
import {Claims} from "./Claims.sol";

/// @title Demands: what is attested must be shown, leaf by leaf
abstract contract Demands is Claims {
    /// @inheritdoc ICourt
    uint256 public constant ANSWER_GAS = 150_000;
    /// @inheritdoc ICourt
    uint256 public constant MAX_DEPOSIT = 0.1 ether;

    mapping(bytes32 demandId => Demand) private _demands;

    /// @inheritdoc ICourt
    function demandChunk(
        Target calldata target,
        Basis calldata basis,
        Tree tree,
        Membership calldata membership,
        uint64 index
    ) external payable {
        bool based = tree == Tree.Parent || tree == Tree.State || tree == Tree.ParentState;
        Dispute memory found = based ? _openOn(target, basis) : _open(target);
        (bytes32 root, Rows memory rows) = _rootOf(target, basis, tree, membership);
        _demand(target, found, Demanded(found.roundId, found.tally, root, rows.entryBytes, rows.entries, index));
    }

    /// @inheritdoc ICourt
    function demandContribution(Target calldata target, uint64 index) external payable {
        Dispute memory found = _open(target);
        bytes32 root = target.result.contributionsRoot;
        _demand(target, found, Demanded(found.roundId, found.tally, root, uint16(CONTRIBUTION_BYTES), 1, index));
    }

    /// @inheritdoc ICourt
    function showLeaf(Demanded calldata demanded, Opening calldata opening) external {
        bytes memory refusal = _refusalOf(demanded, opening);
        // slither-disable-next-line incorrect-equality,timestamp
        if (refusal.length == 0) return _show(demanded, opening);
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            revert(add(refusal, 32), mload(refusal))
        }
    }

    /// @inheritdoc ICourt
    // No call of its own for each: too little gas would then look like a leaf that cannot be shown.
    function showLeaves(Shown[] calldata shown) external {
        for (uint256 i = 0; i < shown.length; ++i) {
            Demanded calldata demanded = shown[i].demanded;
            bytes memory refusal = _refusalOf(demanded, shown[i].opening);
            // slither-disable-next-line incorrect-equality,timestamp
            if (refusal.length == 0) _show(demanded, shown[i].opening);
            // forge-lint: disable-next-line(unsafe-typecast)
            else emit AnswerSkipped(demanded.roundId, demanded.tally, demanded.root, demanded.index, bytes4(refusal));
        }
    }

    /// @inheritdoc ICourt
    function closeDemand(ModelId modelId, uint64 number, Demanded calldata demanded) external {
        Demand storage held = _openDemand(demanded);
        // Else a liar would close the demand beside another round's window, and no result would be void.
        if (RoundId.unwrap(CAIRN.roundIdOf(modelId, number)) != RoundId.unwrap(demanded.roundId)) {
            revert NotDemanded(demanded.root, demanded.index);
        }
        // slither-disable-next-line timestamp
        if (block.timestamp < held.deadline) revert AnswerNotDue(held.deadline);
        held.closed = true;
        _credit(held.demander, held.deposit);
        emit DemandClosed(demanded.roundId, demanded.tally, demanded.root, demanded.index);

        Dispute memory found = CAIRN.dispute(modelId, number);
        if (found.tally == demanded.tally) {
            _convict(
                Finding({
                    modelId: modelId,
                    number: number,
                    roundId: found.roundId,
                    tally: found.tally,
                    challengeDuration: found.challengeDuration,
                    challenger: msg.sender,
                    fault: Fault.Unanswered,
                    part: Part.Service,
                    index: 0
                })
            );
        }
    }

    /// @inheritdoc ICourt
    function demand(Demanded calldata demanded) external view returns (Demand memory) {
        return _demandOf(demanded);
    }

    /// @inheritdoc ICourt
    function depositNow() public view returns (uint256) {
        uint256 cost = ANSWER_GAS * block.basefee;
        return cost < MAX_DEPOSIT ? cost : MAX_DEPOSIT;
    }

    // Cairn calls nobody back while it moves the window, and what is written depends on where its end is then.
    // slither-disable-next-line reentrancy-no-eth,reentrancy-events
    function _demand(Target calldata target, Dispute memory found, Demanded memory demanded) private {
        if (demanded.root == 0) revert NoRoot();
        uint256 least = depositNow();
        if (msg.value < least || msg.value > MAX_DEPOSIT) revert BadDeposit(msg.value, least, MAX_DEPOSIT);
        Demand storage held = _demands[keccak256(abi.encode(demanded))];
        if (held.deadline != 0) revert AlreadyDemanded(demanded.root, demanded.index);
        CAIRN.extendWindow(target.modelId, target.number);

        // Read again: the window may have moved. As long again as for the answer is left to say that there was none.
        uint40 windowEnd = CAIRN.dispute(target.modelId, target.number).challengeDeadline;
        uint40 deadline = uint40(block.timestamp) + found.answerDuration;
        // slither-disable-next-line timestamp
        if (deadline + found.answerDuration > windowEnd) revert TooLate(block.timestamp, windowEnd);
        held.demander = msg.sender;
        held.deposit = uint96(msg.value);
        held.deadline = deadline;
        emit LeafDemanded(
            demanded.roundId,
            demanded.tally,
            msg.sender,
            demanded.root,
            demanded.entryBytes,
            demanded.entries,
            demanded.index,
            uint96(msg.value),
            deadline
        );
    }

    function _show(Demanded calldata demanded, Opening calldata opening) private {
        Demand storage held = _demands[keccak256(abi.encode(demanded))];
        held.closed = true;
        held.answered = true;
        _credit(msg.sender, held.deposit);
        emit LeafShown(
            demanded.roundId,
            demanded.tally,
            msg.sender,
            demanded.root,
            demanded.index,
            opening.counted,
            opening.leaf,
            opening.proof
        );
    }

    /// @return The error that says why this is no answer; empty where it is one.
    function _refusalOf(Demanded calldata demanded, Opening calldata opening) private view returns (bytes memory) {
        (bytes32 root, uint64 index) = (demanded.root, demanded.index);
        Demand memory held = _demandOf(demanded);
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

    function _openDemand(Demanded calldata demanded) private view returns (Demand storage held) {
        held = _demands[keccak256(abi.encode(demanded))];
        if (held.deadline == 0) revert NotDemanded(demanded.root, demanded.index);
        if (held.closed) revert DemandIsClosed(demanded.root, demanded.index);
    }

    function _demandOf(Demanded calldata demanded) internal view override returns (Demand memory) {
        return _demands[keccak256(abi.encode(demanded))];
    }
}
