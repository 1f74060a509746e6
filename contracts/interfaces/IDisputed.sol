// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Result, Roots} from "./ICairn.sol";
import {IRules} from "./IRules.sol";
import {Contribution, Counted, Membership, Opening} from "./Openings.sol";

/// @notice The blobs of a round that have the same coordinates.
enum Tree {
    Aggregate,
    Version,
    Parent,
    Contribution,
    State, // of the version: for each coordinate, one after the other, its states as int64
    ParentState
}

/// @notice What a round anchors a head of: the digest on chain is the sha2-256 of that head, see `IChallenges.convictHead`.
enum HeadKind {
    Update, // of a contribution
    Version,
    Report
}

/// @notice A result in its challenge window.
struct Target {
    ModelId modelId;
    uint64 number;
    Result result;
}

/// @notice What a result is held against: the rules it was made by, and the roots of the version it was made of.
struct Basis {
    bytes rules;
    Roots parent;
}

/// @title Disputed: what challenges and demands have in common
/// @notice The result in its window, and what is opened of its roots. Tree sizes come from the roots.
interface IDisputed {
    // ---------------------------------------------------------------------------------------------------------- Errors

    /// @notice No window is open, or it is another result's.
    error NotDisputed(ModelId modelId, uint64 number, bytes32 resultHash);
    /// @notice The rule bytes, or the parent's roots, are not those that are anchored.
    error OtherBasis(bytes32 given, bytes32 expected);
    /// @notice The rules keep no state.
    error NoState();
    /// @notice A zero root has no leaves.
    error NoRoot();
    /// @notice Count and inner root do not hash to the root.
    error BadCount(bytes32 root);
    /// @notice The leaf is not at that index of the tree.
    error BadProof(bytes32 root, uint64 index);
    /// @notice A leaf, or a list, of the wrong length.
    error BadLength(uint256 length, uint256 expected);
    /// @notice An index or coordinate that is not there, or not the neighbour's.
    error BadIndex(uint64 index, uint64 count);

    // ------------------------------------------------------------------------------------------------------- Constants

    // slither-disable-start naming-convention
    function CAIRN() external view returns (ICairn);
    function RULES() external view returns (IRules);
    /// @notice Values in a chunk.
    function CHUNK_VALUES() external view returns (uint64); // 256
    // slither-disable-end naming-convention
}
