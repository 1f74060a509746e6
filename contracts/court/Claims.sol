// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RoundId} from "../interfaces/ICairn.sol";
import {Conviction, Demand, Demanded, Fault, ICourt} from "../interfaces/ICourt.sol";
import {Money} from "./Money.sol";

/// @title Commit-reveal of fault claims: who earns the reward, and no front-running
/// @dev A pending challenge is public: a front-runner could copy it and be mined first. So the reward goes to the
/// earliest seal of the claim, a salted hash that hides the claim until it is revealed after the conviction.
abstract contract Claims is Money {
    /// @inheritdoc ICourt
    mapping(bytes32 seal => uint64 order) public seals;

    /// @inheritdoc ICourt
    function sealClaim(bytes32 seal) external {
        if (seals[seal] != 0) return; // it holds its author, so whoever came first did it for them
        seals[seal] = ++_order;
        emit ClaimSealed(seal, _order);
    }

    /// @inheritdoc ICourt
    function revealClaim(RoundId roundId, bytes32 tally, bytes32 salt, Demanded calldata demanded) external {
        Conviction storage found = _convictions[roundId][tally];
        if (found.fault == Fault.None) revert NotConvicted(roundId, tally);
        // slither-disable-next-line timestamp
        if (block.timestamp >= found.revealDeadline) revert RevealIsOver(found.revealDeadline);
        if (found.fault == Fault.Unanswered) _requireOwnUnanswered(roundId, tally, demanded);
        bytes32 seal = keccak256(abi.encode(msg.sender, salt, found.claim));
        uint64 order = seals[seal];
        if (order == 0 || order > found.order) revert NotSealed(seal);
        if (found.leader == address(0) || order < found.leaderOrder) {
            found.leader = msg.sender;
            found.leaderOrder = order;
        }
        emit ClaimRevealed(roundId, tally, msg.sender, order);
    }

    /// @inheritdoc ICourt
    function collectReward(RoundId roundId, bytes32 tally) external {
        Conviction memory found = _convictions[roundId][tally];
        if (found.fault == Fault.None) revert NotConvicted(roundId, tally);
        // slither-disable-next-line timestamp
        if (block.timestamp < found.revealDeadline) revert RevealNotOver(found.revealDeadline);
        uint256 amount = _rewards[roundId][tally].amount;
        _rewards[roundId][tally].amount = 0;
        if (found.leader == address(0)) burnt += amount;
        else _credit(found.leader, amount);
        emit RewardCollected(roundId, tally, found.leader, amount);
    }

    function _requireOwnUnanswered(RoundId roundId, bytes32 tally, Demanded calldata demanded) private view {
        Demand memory held = _demandOf(demanded);
        bool own = RoundId.unwrap(demanded.roundId) == RoundId.unwrap(roundId) && demanded.tally == tally
            && held.demander == msg.sender && !held.answered;
        // slither-disable-next-line timestamp
        if (!own || block.timestamp < held.lateDeadline) revert NotDemanded(demanded.root, demanded.index);
    }

    function _demandOf(Demanded calldata demanded) internal view virtual returns (Demand memory);
}
