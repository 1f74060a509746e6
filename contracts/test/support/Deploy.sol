// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {AllowListHook} from "../../hooks/AllowListHook.sol";
import {Vm} from "./Test.sol";

/// @notice Deploys the contracts under test: compiled with the tests, or under CAIRN_SOL_TESTS=long the very bytecode that
/// ships, so that only what ships has to be compiled by IR.
library Deploy {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function cairn() internal returns (Cairn) {
        return shipped() ? Cairn(create("Cairn", "")) : new Cairn();
    }

    function allowListHook(bytes32 root) internal returns (AllowListHook) {
        return shipped() ? AllowListHook(create("AllowListHook", abi.encode(root))) : new AllowListHook(root);
    }

    function shipped() private view returns (bool) {
        return keccak256(bytes(vm.envOr("CAIRN_SOL_TESTS", string("")))) == keccak256("long");
    }

    function create(string memory name, bytes memory arguments) private returns (address made) {
        string memory artifact = vm.readFile(string.concat("registry/chain/artifacts/", name, ".json"));
        bytes memory code = bytes.concat(vm.parseJsonBytes(artifact, ".bytecode"), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        require(made != address(0), "expected the bytecode that ships to deploy");
    }
}
