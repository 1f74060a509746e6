// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Demands} from "./court/Demands.sol";
import {ICairn} from "./interfaces/ICairn.sol";
import {IChallenges} from "./interfaces/IChallenges.sol";
import {IFactory, ContractIndex} from "./interfaces/IFactory.sol";
import {IRules} from "./interfaces/IRules.sol";
import {ISelections} from "./interfaces/ISelections.sol";

/// @title Court
/// @notice Belongs to one Cairn, immutable. What it does is said in `interfaces/ICourt.sol`.
contract Court is Demands {
    /// @dev Made by a factory, which says who the partners are.
    constructor() {
        CAIRN = ICairn(IFactory(msg.sender).addressOf(uint256(ContractIndex.Cairn)));
        CHALLENGES = IChallenges(IFactory(msg.sender).addressOf(uint256(ContractIndex.Challenges)));
        SELECTIONS = ISelections(IFactory(msg.sender).addressOf(uint256(ContractIndex.Selections)));
        RULES = IRules(IFactory(msg.sender).addressOf(uint256(ContractIndex.Rules)));
    }
}
