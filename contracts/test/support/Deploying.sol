// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {Challenges} from "../../Challenges.sol";
import {Court} from "../../Court.sol";
import {Factory} from "../../Factory.sol";
import {Rules} from "../../Rules.sol";
import {Place} from "../../interfaces/IFactory.sol";

/// @notice A deployment as anyone makes it: the factory, then what it makes, Cairn last.
library Deploying {
    function codes() internal pure returns (bytes[] memory all) {
        all = new bytes[](4);
        all[uint256(Place.Cairn)] = type(Cairn).creationCode;
        all[uint256(Place.Challenges)] = type(Challenges).creationCode;
        all[uint256(Place.Court)] = type(Court).creationCode;
        all[uint256(Place.Rules)] = type(Rules).creationCode;
    }

    function hashesOf(bytes[] memory all) internal pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](all.length);
        for (uint256 i = 0; i < all.length; ++i) {
            hashes[i] = keccak256(all[i]);
        }
    }

    function deployed() internal returns (Cairn) {
        bytes[] memory all = codes();
        Factory factory = new Factory(hashesOf(all));
        for (uint256 i = all.length; i > 0; --i) {
            factory.deploy(i - 1, all[i - 1]);
        }
        return Cairn(factory.addressOf(uint256(Place.Cairn)));
    }
}
