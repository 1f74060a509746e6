// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn} from "./interfaces/ICairn.sol";
import {ICourt} from "./interfaces/ICourt.sol";
import {IFactory, ContractIndex} from "./interfaces/IFactory.sol";
import {IRules} from "./interfaces/IRules.sol";
import {Choices} from "./selections/Choices.sol";
import {Products} from "./selections/Products.sol";

/// @title Selections
/// @notice Belongs to one Cairn, immutable. What it does is said in `interfaces/ISelections.sol`.
contract Selections is Products, Choices {
    /// @dev Made by a factory, which says who the partners are.
    constructor() {
        CAIRN = ICairn(IFactory(msg.sender).addressOf(uint256(ContractIndex.Cairn)));
        COURT = ICourt(IFactory(msg.sender).addressOf(uint256(ContractIndex.Court)));
        RULES = IRules(IFactory(msg.sender).addressOf(uint256(ContractIndex.Rules)));
    }
}
