// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Disputed} from "../challenges/Disputed.sol";
import {RoundId, Standing} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Conviction, Fault, Finding, ICourt} from "../interfaces/ICourt.sol";
import {ISelections} from "../interfaces/ISelections.sol";

/// @title Verdicts: records each conviction with its fault and claim, and voids the result
abstract contract Verdicts is Disputed, ICourt {
    /// @inheritdoc ICourt
    // slither-disable-next-line naming-convention
    IChallenges public immutable CHALLENGES;
    /// @inheritdoc ICourt
    // slither-disable-next-line naming-convention
    ISelections public immutable SELECTIONS;

    mapping(RoundId => mapping(bytes32 tally => Conviction)) internal _convictions;
    /// @dev Of the last seal and conviction, in one order.
    uint64 internal _order;

    /// @inheritdoc ICourt
    function convict(Finding calldata finding) external {
        if (msg.sender != address(CHALLENGES) && msg.sender != address(SELECTIONS)) revert NotChallenges(msg.sender);
        _convict(finding);
    }

    /// @inheritdoc ICourt
    function conviction(RoundId roundId, bytes32 tally) external view returns (Conviction memory) {
        return _convictions[roundId][tally];
    }

    function _convict(Finding memory f) internal {
        bytes32 claim = keccak256(abi.encode(f.roundId, f.tally, f.part, f.index));
        uint40 revealDeadline = uint40(block.timestamp) + f.challengeDuration;
        _convictions[f.roundId][f.tally] = Conviction({
            claim: claim,
            fault: f.fault,
            order: ++_order,
            revealDeadline: revealDeadline,
            leader: address(0),
            leaderOrder: 0
        });
        emit ResultConvicted(f.roundId, f.tally, f.challenger, f.fault, claim, revealDeadline);
        CAIRN.voidResult(f.modelId, f.number, f.fault == Fault.Unanswered ? Standing.Unanswered : Standing.Convicted);
    }
}
