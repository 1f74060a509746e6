// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";
import {IFactory, ContractIndex} from "./interfaces/IFactory.sol";

/// @title Factory
/// @notice One for each deployment, without an owner. What it does is said in `interfaces/IFactory.sol`.
contract Factory is IFactory {
    bytes32 private immutable _salt;
    bytes32[] private _codeHashes;

    constructor(bytes32[] memory codeHashes_) {
        _codeHashes = codeHashes_;
        _salt = keccak256(abi.encodePacked(codeHashes_));
    }

    /// @inheritdoc IFactory
    function deploy(uint256 place, bytes calldata code) external returns (address deployed) {
        bytes32 expected = _codeHashOf(place);
        bytes32 codeHash = keccak256(code);
        if (codeHash != expected) revert OtherCode(place, codeHash, expected);
        // Asked first, since a collision would take all the gas that is given.
        if (addressOf(place).code.length != 0) revert AlreadyDeployed(place);
        if (place == uint256(ContractIndex.Cairn)) _requirePartners();
        deployed = Create2.deploy(0, _salt, code);
        emit ContractDeployed(place, deployed);
    }

    /// @inheritdoc IFactory
    function addressOf(uint256 place) public view returns (address) {
        return Create2.computeAddress(_salt, _codeHashOf(place));
    }

    /// @inheritdoc IFactory
    function codeHashes() external view returns (bytes32[] memory) {
        return _codeHashes;
    }

    function _requirePartners() private view {
        uint256 places = _codeHashes.length;
        for (uint256 place = uint256(ContractIndex.Cairn) + 1; place < places; ++place) {
            if (addressOf(place).code.length == 0) revert NotDeployed(place);
        }
    }

    function _codeHashOf(uint256 place) private view returns (bytes32) {
        if (place >= _codeHashes.length) revert UnknownPlace(place, _codeHashes.length);
        return _codeHashes[place];
    }
}
