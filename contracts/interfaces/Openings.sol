// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

// Openings: what is shown of a counted root. They stand alone, so that libraries which need nothing else compile alone.

/// @notice What a counted root hashes: root == sha256(0x02 ‖ uint64 big-endian count ‖ inner).
struct Counted {
    uint64 count;
    bytes32 inner;
}

/// @notice A leaf of a counted root, with its RFC 9162 inclusion proof from the leaf's sibling up.
struct Opening {
    Counted counted;
    bytes leaf;
    bytes32[] proof;
}

/// @notice A leaf of the contributions root is the abi.encode of this: a commitment, and its factor in the sum.
struct Contribution {
    address participant;
    bytes32 digest;
    bytes32 tensorRoot;
    uint32 weight;
    uint32 steps;
    uint32 factor;
}

/// @notice A contribution at its place in the contributions root.
struct Membership {
    Counted counted;
    uint64 index;
    Contribution contribution;
    bytes32[] proof;
}
