// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId} from "../../interfaces/ICairn.sol";
import {ICourt} from "../../interfaces/ICourt.sol";

/// @notice A contract that is paid: it may refuse, or call back while it is.
contract Payee {
    ICourt private immutable _court;
    ModelId private immutable _modelId;
    bool private _refuses;
    bytes private _callback;
    /// Of the call back.
    bool public succeeded;
    bytes public answer;

    constructor(ICourt court, ModelId modelId) {
        (_court, _modelId) = (court, modelId);
    }

    receive() external payable {
        require(!_refuses);
        if (_callback.length != 0) (succeeded, answer) = msg.sender.call(_callback);
    }

    function refuse(bool refuses) external {
        _refuses = refuses;
    }

    function arm(bytes calldata callback) external {
        _callback = callback;
    }

    function deposit(uint256 amount) external {
        _court.depositBond{value: amount}(_modelId);
    }

    function release(uint128 amount) external {
        _court.releaseBond(_modelId, amount);
    }

    function withdraw(address to) external {
        _court.withdraw(to);
    }
}
