// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {IHook} from "../../interfaces/IHook.sol";
import {ModelId} from "../../interfaces/ICairn.sol";

/// @notice Admits, and remembers what it was told.
contract RecordingHook is IHook {
    bytes32 public seen;
    uint64 public lastRound;
    /// Grows with the gas that was used before it was asked.
    uint256 public asked;

    function onCommit(
        ModelId modelId,
        uint64 number,
        address participant,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps,
        bytes calldata hookData
    ) external returns (bytes4) {
        seen = keccak256(abi.encode(modelId, number, participant, digest, tensorRoot, weight, steps, hookData));
        asked = type(uint256).max - gasleft();
        lastRound = Cairn(msg.sender).member(modelId, participant).lastRound;
        return IHook.onCommit.selector;
    }
}

/// @notice Answers with the bytes it was made with, or reverts with them.
contract AnsweringHook {
    bytes private _answer;
    bool private _reverts;

    constructor(bytes memory answer, bool reverts) {
        (_answer, _reverts) = (answer, reverts);
    }

    fallback() external {
        bytes memory answer = _answer;
        bool reverts = _reverts;
        assembly ("memory-safe") {
            if reverts { revert(add(answer, 32), mload(answer)) }
            return(add(answer, 32), mload(answer))
        }
    }
}

/// @notice Admits, after having sent back a call that it was armed with.
contract ReentrantHook is IHook {
    bytes private _call;
    bool public succeeded;
    bytes public answer;

    function arm(bytes calldata data) external {
        _call = data;
    }

    function onCommit(ModelId, uint64, address, bytes32, bytes32, uint32, uint32, bytes calldata)
        external
        returns (bytes4)
    {
        (succeeded, answer) = msg.sender.call(_call);
        return IHook.onCommit.selector;
    }
}
