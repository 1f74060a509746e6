// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Round} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Membership, Target} from "../interfaces/IDisputed.sol";
import {Disputed} from "./Disputed.sol";

/// @title Receipts: who is in a version, and who is not
abstract contract Receipts is Disputed, IChallenges {
    /// @inheritdoc IChallenges
    function isIncluded(Target calldata target, Membership calldata membership) external view returns (bool) {
        _requireFinalized(target);
        _requireMember(membership, target.result.contributionsRoot);
        return true;
    }

    /// @inheritdoc IChallenges
    function isExcluded(Target calldata target, address participant, Membership[] calldata neighbours)
        external
        view
        returns (bool)
    {
        _requireFinalized(target);
        for (uint256 i = 0; i < neighbours.length; ++i) {
            _requireMember(neighbours[i], target.result.contributionsRoot);
        }
        if (neighbours.length == 2) {
            return neighbours[0].index + 1 == neighbours[1].index
                && neighbours[0].contribution.participant < participant
                && participant < neighbours[1].contribution.participant;
        }
        if (neighbours.length != 1) revert BadLength(neighbours.length, 2);
        Membership calldata only = neighbours[0];
        address there = only.contribution.participant;
        if (only.index == 0 && participant < there) return true;
        return only.index == only.counted.count - 1 && there < participant;
    }

    function _requireFinalized(Target calldata target) private view {
        Round memory round = CAIRN.round(target.modelId, target.number);
        if (!round.finalized || round.resultHash != keccak256(abi.encode(target.result))) {
            revert NotFinalized(target.modelId, target.number);
        }
    }
}
