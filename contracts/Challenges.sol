// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Convictions} from "./challenges/Convictions.sol";
import {Demands} from "./challenges/Demands.sol";
import {Receipts} from "./challenges/Receipts.sol";
import {Streams} from "./challenges/Streams.sol";
import {ICairn} from "./interfaces/ICairn.sol";

/// @title Challenges
/// @notice Made by the Cairn it belongs to, immutable. What it does is said in `interfaces/IChallenges.sol`.
contract Challenges is Convictions, Streams, Demands, Receipts {
    constructor(ICairn cairn) {
        CAIRN = cairn;
    }
}
