// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {GramPart} from "../challenges/GramPart.sol";
import {Dispute, ModelId, Plan, RoundId} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Demand, Demanded, Fault, Finding, ICourt, OpenDemands, Part} from "../interfaces/ICourt.sol";
import {Basis, HeadKind, Membership, Target, Tree} from "../interfaces/IDisputed.sol";
import {ISelections} from "../interfaces/ISelections.sol";
import {Answers} from "./Answers.sol";

/// @title Demands: data-availability challenges, leaf by leaf
/// @dev Unless a demanded leaf is shown in time, the result is void. An answer carries its Merkle path, so demands also
/// play the bisection game: the challenger compares the sibling hashes with its own tree and demands the next leaf in
/// the half that differs, down to the wrong leaf, which a fraud proof then convicts.
abstract contract Demands is Answers {
    /// @inheritdoc ICourt
    uint256 public constant ANSWER_GAS = 150_000;
    /// @inheritdoc ICourt
    uint256 public constant MAX_DEPOSIT = 0.1 ether;

    /// @inheritdoc ICourt
    function demandChunks(
        Target calldata target,
        Basis calldata basis,
        Tree tree,
        Membership calldata membership,
        uint64[] calldata indices
    ) external payable {
        bool based = tree == Tree.Parent || tree == Tree.State || tree == Tree.ParentState || tree == Tree.Contribution;
        Dispute memory found = based ? _openOn(target, basis) : _open(target);
        // A state that begins anew is computed from none: what the parent has may be in rows of other lengths.
        if (tree == Tree.ParentState && !_continues(basis, RULES.layoutOf(basis.rules))) revert NoState();
        (bytes32 root, Rows memory rows) = _rootOf(target, basis, tree, membership);
        _demand(target, found, Demanded(found.roundId, found.tally, root, rows.entryBytes, rows.entries, 0), indices);
    }

    /// @inheritdoc ICourt
    function demandContributions(Target calldata target, uint64[] calldata indices) external payable {
        Dispute memory found = _open(target);
        bytes32 root = target.result.contributionsRoot;
        _demand(target, found, Demanded(found.roundId, found.tally, root, uint16(CONTRIBUTION_BYTES), 1, 0), indices);
    }

    /// @inheritdoc ICourt
    function demandHead(Target calldata target, HeadKind kind, Membership calldata membership) external payable {
        Dispute memory found = _open(target);
        bytes32 digest = _digestOf(target, kind, membership);
        _demand(target, found, Demanded(found.roundId, found.tally, digest, 0, 0, 0), new uint64[](1));
    }

    /// @inheritdoc ICourt
    function demandGram(Target calldata target, bytes calldata head, uint64[] calldata indices) external payable {
        Dispute memory found = _open(target);
        bytes32 given = sha256(head);
        bytes32 digest = target.result.reportDigest;
        if (given != digest) revert IChallenges.OtherHead(given, digest);
        uint32 count = target.result.contributions;
        // Where the rules ask for none, the head is convicted.
        if (!GramPart.fits(head, true) || count > GramPart.MOST) revert ISelections.NoGramPart();
        bytes32 root = GramPart.root(head);
        _demand(target, found, Demanded(found.roundId, found.tally, root, 32, uint16(count), 0), indices);
    }

    /// @inheritdoc ICourt
    function closeDemand(ModelId modelId, uint64 number, Demanded calldata demanded) external {
        Demand storage held = _openDemand(demanded);
        // Else a liar would close the demand beside another round's window, and no result would be void.
        if (RoundId.unwrap(CAIRN.roundIdOf(modelId, number)) != RoundId.unwrap(demanded.roundId)) {
            revert NotDemanded(demanded.root, demanded.index);
        }
        // slither-disable-next-line timestamp
        if (block.timestamp < held.lateDeadline) revert AnswerNotDue(held.lateDeadline);
        _close(held, demanded, false);
        _credit(held.demander, held.deposit);
        emit DemandClosed(
            demanded.roundId,
            demanded.tally,
            demanded.root,
            demanded.entryBytes,
            demanded.entries,
            demanded.index
        );

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
    function bondAsked(ModelId modelId, uint64 number) external view returns (uint256) {
        return uint256(_planOf(modelId, number).bondGwei) * 1 gwei;
    }

    /// @inheritdoc ICourt
    function depositNow(ModelId modelId, uint64 number) external view returns (uint256) {
        return _leastDeposit(_planOf(modelId, number));
    }

    /// @dev Of each index of a root, against an equal part of what was sent.
    // Cairn calls nobody back while it moves the window, and what is written depends on where its end is then.
    // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
    function _demand(Target calldata target, Dispute memory found, Demanded memory demanded, uint64[] memory indices)
        private
    {
        if (demanded.root == 0) revert NoRoot();
        Plan memory plan = _planOf(target.modelId, target.number);
        uint96 deposit = _depositOfEach(indices.length, plan);
        CAIRN.extendWindow(target.modelId, target.number);

        // Read again: the window may have moved. As long again as for the answer is left to say that there was none.
        uint40 windowEnd = CAIRN.dispute(target.modelId, target.number).challengeDeadline;
        uint40 deadline = uint40(block.timestamp) + plan.answerDuration;
        uint40 lateDeadline = deadline + plan.lateDuration;
        // slither-disable-next-line timestamp
        if (lateDeadline + plan.answerDuration > windowEnd) revert TooLate(block.timestamp, windowEnd);
        Demand memory made = Demand(msg.sender, deposit, deadline, lateDeadline, false, false);
        uint32 count = 0;
        for (uint256 i = 0; i < indices.length; ++i) {
            demanded.index = indices[i];
            if (_record(demanded, made)) ++count;
        }
        if (count == 0) revert AlreadyDemanded(demanded.root, demanded.index);
        OpenDemands storage open = _openDemands[found.roundId][found.tally];
        (open.count, open.deposits) = (open.count + count, open.deposits + uint112(count) * deposit);
        _credit(msg.sender, (indices.length - count) * deposit);
    }

    /// @dev Whoever demanded it before has the same answer to wait for: nobody can keep others from the rest by it.
    function _record(Demanded memory demanded, Demand memory made) private returns (bool) {
        bytes32 demandId = keccak256(abi.encode(demanded));
        // slither-disable-next-line incorrect-equality,timestamp
        if (_demands[demandId].deadline != 0) {
            emit DemandSkipped(
                demanded.roundId, demanded.tally, msg.sender, demanded.root, demanded.index, made.deposit
            );
            return false;
        }
        _demands[demandId] = made;
        emit LeafDemanded(
            demanded.roundId,
            demanded.tally,
            msg.sender,
            demanded.root,
            demanded.entryBytes,
            demanded.entries,
            demanded.index,
            made.deposit,
            made.deadline,
            made.lateDeadline
        );
        return true;
    }

    function _depositOfEach(uint256 count, Plan memory plan) private view returns (uint96) {
        if (count == 0) revert NothingDemanded();
        if (msg.value % count != 0) revert UnequalDeposits(msg.value, count);
        uint256 deposit = msg.value / count;
        uint256 least = _leastDeposit(plan);
        if (deposit < least || deposit > MAX_DEPOSIT) revert BadDeposit(deposit, least, MAX_DEPOSIT);
        return uint96(deposit);
    }

    function _leastDeposit(Plan memory plan) private view returns (uint256) {
        uint256 cost = ANSWER_GAS * block.basefee;
        uint256 price = uint256(plan.demandPriceGwei) * 1 gwei;
        if (cost > MAX_DEPOSIT) cost = MAX_DEPOSIT;
        return cost < price ? price : cost;
    }
}
