// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {IHook} from "../interfaces/IHook.sol";
import {ModelId} from "../interfaces/ICairn.sol";

/// @title A hook that admits the accounts of a list, of which the chain holds only the Merkle root
/// @notice Leaf: keccak256(keccak256(abi.encode(address))), pairs sorted, as OpenZeppelin's merkle-tree library builds it
/// for `["address"]`. `hookData` is abi.encode(bytes32[] proof). The hook keeps no state, so it serves any Cairn and any
/// model; another list is another hook, and counts from the next plan on.
contract AllowListHook is IHook {
    bytes32 public immutable root;

    constructor(bytes32 root_) {
        root = root_;
    }

    /// @inheritdoc IHook
    function onCommit(
        ModelId,
        uint64,
        address participant,
        bytes32,
        bytes32,
        uint32,
        uint32,
        bytes calldata hookData
    ) external view returns (bytes4) {
        bytes32[] memory proof = abi.decode(hookData, (bytes32[]));
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(participant))));
        return MerkleProof.verify(proof, root, leaf) ? IHook.onCommit.selector : bytes4(0);
    }
}
