// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {Challenges} from "../../Challenges.sol";
import {Court} from "../../Court.sol";
import {Factory} from "../../Factory.sol";
import {Labels} from "../../Labels.sol";
import {Rules} from "../../Rules.sol";
import {Scores} from "../../Scores.sol";
import {Selections} from "../../Selections.sol";
import {AllowListHook} from "../../hooks/AllowListHook.sol";
import {ContractIndex} from "../../interfaces/IFactory.sol";
import {Vm} from "./Test.sol";

/// @notice Deploys the contracts under test: compiled with the tests, or, where CAIRN_SOL_TESTS is set, the very bytecode that
/// ships, so that only what ships has to be compiled by IR.
library Deploy {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice A deployment as anyone makes it: the factory, then what it makes, Cairn last.
    function cairn() internal returns (Cairn) {
        bytes[] memory all = codes();
        Factory made = factory(hashesOf(all));
        for (uint256 i = all.length; i > 0; --i) {
            made.deploy(i - 1, all[i - 1]);
        }
        return Cairn(made.addressOf(uint256(ContractIndex.Cairn)));
    }

    function factory(bytes32[] memory hashes) internal returns (Factory) {
        return shipped() ? Factory(create("Factory", abi.encode(hashes))) : new Factory(hashes);
    }

    function allowListHook(bytes32 root) internal returns (AllowListHook) {
        return shipped() ? AllowListHook(create("AllowListHook", abi.encode(root))) : new AllowListHook(root);
    }

    /// @notice What the factory makes, by place.
    function codes() internal view returns (bytes[] memory all) {
        bool long = shipped();
        all = new bytes[](uint256(type(ContractIndex).max) + 1);
        all[uint256(ContractIndex.Cairn)] = long ? artifact("Cairn") : type(Cairn).creationCode;
        all[uint256(ContractIndex.Challenges)] = long ? artifact("Challenges") : type(Challenges).creationCode;
        all[uint256(ContractIndex.Court)] = long ? artifact("Court") : type(Court).creationCode;
        all[uint256(ContractIndex.Rules)] = long ? artifact("Rules") : type(Rules).creationCode;
        all[uint256(ContractIndex.Labels)] = long ? artifact("Labels") : type(Labels).creationCode;
        all[uint256(ContractIndex.Selections)] = long ? artifact("Selections") : type(Selections).creationCode;
        all[uint256(ContractIndex.Scores)] = long ? artifact("Scores") : type(Scores).creationCode;
    }

    function hashesOf(bytes[] memory all) internal pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](all.length);
        for (uint256 i = 0; i < all.length; ++i) {
            hashes[i] = keccak256(all[i]);
        }
    }

    function shipped() private view returns (bool) {
        return bytes(vm.envOr("CAIRN_SOL_TESTS", string(""))).length != 0;
    }

    function artifact(string memory name) private view returns (bytes memory) {
        string memory found = vm.readFile(string.concat("registry/chain/artifacts/", name, ".json"));
        return vm.parseJsonBytes(found, ".bytecode");
    }

    function create(string memory name, bytes memory arguments) private returns (address made) {
        bytes memory code = bytes.concat(artifact(name), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        require(made != address(0), "expected the bytecode that ships to deploy");
    }
}
