// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Convictions} from "./challenges/Convictions.sol";
import {Heads} from "./challenges/Heads.sol";
import {Receipts} from "./challenges/Receipts.sol";
import {Streams} from "./challenges/Streams.sol";
import {ICairn} from "./interfaces/ICairn.sol";
import {ICourt} from "./interfaces/ICourt.sol";
import {IFactory, ContractIndex} from "./interfaces/IFactory.sol";
import {IRules} from "./interfaces/IRules.sol";

/// @title Challenges
/// @notice Belongs to one Cairn, immutable. What it does is said in `interfaces/IChallenges.sol`.
contract Challenges is Convictions, Heads, Streams, Receipts {
    /// @dev Made by a factory, which says who the partners are.
    constructor() {
        CAIRN = ICairn(IFactory(msg.sender).addressOf(uint256(ContractIndex.Cairn)));
        COURT = ICourt(IFactory(msg.sender).addressOf(uint256(ContractIndex.Court)));
        RULES = IRules(IFactory(msg.sender).addressOf(uint256(ContractIndex.Rules)));
    }
}
