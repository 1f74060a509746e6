// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Challenges} from "./Challenges.sol";
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
    /// @dev Made here, so that neither of the two can have another partner.
    constructor() {
        CHALLENGES = new Challenges(this);
    }
}
