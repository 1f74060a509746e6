// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Merkle} from "../challenges/Merkle.sol";
import {Dispute, ModelId, RoundId} from "../interfaces/ICairn.sol";
import {Demand, Demanded, Fault, Finding, ICourt, Part} from "../interfaces/ICourt.sol";
import {Basis, Membership, Opening, Target, Tree} from "../interfaces/IDisputed.sol";
import {Claims} from "./Claims.sol";

/// @title Demands: what is attested must be shown, leaf by leaf
abstract contract Demands is Claims {
    /// @inheritdoc ICourt
    uint256 public constant ANSWER_GAS = 300_000;
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
        Demand storage held = _openDemand(demanded);
        // slither-disable-next-line timestamp
        if (block.timestamp >= held.deadline) revert TooLate(block.timestamp, held.deadline);
        _requireCounted(opening.counted, demanded.root);
        uint64 count = opening.counted.count;
        Rows memory rows = Rows(demanded.entryBytes, demanded.entries);
        uint64 leaves = _chunks(count, rows);
        if (demanded.index < leaves) {
            uint256 expected = _chunkBytes(count, demanded.index, rows);
            if (opening.leaf.length != expected) revert BadLength(opening.leaf.length, expected);
            bytes32 hash = Merkle.leafHash(opening.leaf);
            if (!Merkle.includes(hash, demanded.index, leaves, opening.proof, opening.counted.inner)) {
                revert BadProof(demanded.root, demanded.index);
            }
        } else if (opening.leaf.length != 0 || opening.proof.length != 0) {
            revert BadIndex(demanded.index, leaves); // nothing stands there that could be shown
        }

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

    function _openDemand(Demanded calldata demanded) private view returns (Demand storage held) {
        held = _demands[keccak256(abi.encode(demanded))];
        if (held.deadline == 0) revert NotDemanded(demanded.root, demanded.index);
        if (held.closed) revert DemandIsClosed(demanded.root, demanded.index);
    }

    function _demandOf(Demanded calldata demanded) internal view override returns (Demand memory) {
        return _demands[keccak256(abi.encode(demanded))];
    }
}
