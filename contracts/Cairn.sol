// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "./interfaces/IChallenges.sol";
import {ICourt} from "./interfaces/ICourt.sol";
import {IFactory, ContractIndex} from "./interfaces/IFactory.sol";
import {IRules} from "./interfaces/IRules.sol";
import {Commits} from "./modules/Commits.sol";
import {Members} from "./modules/Members.sol";
import {Models} from "./modules/Models.sol";
import {Plans} from "./modules/Plans.sol";
import {Results} from "./modules/Results.sol";
import {Rounds} from "./modules/Rounds.sol";
import {Versions} from "./modules/Versions.sol";
import {Voids} from "./modules/Voids.sol";

/// @title Cairn
/// @notice One deployment, immutable, without an administrator. What it does is said in `interfaces/ICairn.sol`.
contract Cairn is Models, Versions, Members, Plans, Rounds, Commits, Results, Voids {
    /// @dev Made by a factory, which says who the partners are.
    constructor() {
        FACTORY = IFactory(msg.sender);
        CHALLENGES = IChallenges(FACTORY.addressOf(uint256(ContractIndex.Challenges)));
        COURT = ICourt(FACTORY.addressOf(uint256(ContractIndex.Court)));
        RULES = IRules(FACTORY.addressOf(uint256(ContractIndex.Rules)));
    }
}
