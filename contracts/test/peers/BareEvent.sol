// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice The least an anchor can cost: the commitment's event and nothing that is checked or kept.
contract BareEvent {
    event UpdateCommitted(
        bytes32 indexed roundId,
        address indexed participant,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps
    );

    function commitUpdate(bytes32 roundId, bytes32 digest, bytes32 tensorRoot, uint32 weight, uint32 steps)
        external
    {
        emit UpdateCommitted(roundId, msg.sender, digest, tensorRoot, weight, steps);
    }
}
