// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId, RoundId} from "./ICairn.sol";
import {Contribution, Counted, IDisputed, Membership, Opening, Target, Tree} from "./IDisputed.sol";
import {Fault, ICourt} from "./ICourt.sol";

/// @notice One step of adding up: a contribution and, unless only weights are added, its chunk.
struct Step {
    Contribution contribution;
    Opening chunk;
}

/// @notice How far adding up has come. The first step is given zeros and no peaks.
struct Sum {
    /// Contributions added.
    uint32 next;
    uint64 weight;
    /// Weight times grid integer.
    int256 sum;
    /// Roots of the perfect subtrees of the contributions so far, largest first.
    bytes32[] peaks;
}

/// @title Challenges: one coordinate is enough
/// @notice Shows the court what aggregators attested and what is not so. Arithmetic is in integers; tree sizes come from
/// the roots. A challenge that proves nothing reverts. Receipts: who is in a version, and who is not.
///
/// Rules. The aggregate can be held against its contributions under combine rule 1, the version against its parent under
/// server rule 1. Other rules are replayed by readers. The list of contributions can be held against the commitments
/// under every rule.
///
/// Assumptions. `sha256` is collision resistant. The parent's root is that of its values: aggregators check it before
/// they attest.
interface IChallenges is IDisputed {
    // ---------------------------------------------------------------------------------------------------------- Events

    event ChallengeAdvanced(RoundId indexed roundId, bytes32 indexed tally, address indexed challenger, uint32 next);

    // ---------------------------------------------------------------------------------------------------------- Errors

    error BadTree(Tree tree);
    /// @notice The given progress is not the sender's last.
    error BadProgress(address challenger);
    error TooManySteps(uint32 next, uint32 contributions);
    error TooFewSteps(uint32 next, uint32 contributions);
    /// @notice What was streamed is not the round's list.
    error OtherList(bytes32 given, bytes32 expected);
    error NotOnGrid(uint64 coordinate);
    error NotFinite(uint64 coordinate);
    error ItIsCommitted(address participant);
    /// @notice What the challenge is about is as it should be.
    error NothingWrong(Fault fault);
    error NotFinalized(ModelId modelId, uint64 number);

    // ------------------------------------------------------------------------------------------------------- Constants

    // slither-disable-next-line naming-convention
    function COURT() external view returns (ICourt);

    // ----------------------------------------------------------------------------------- Challenges of one transaction

    function convictCount(Target calldata target, Counted calldata counted) external;

    function convictOrder(Target calldata target, Membership calldata left, Membership calldata right) external;

    function convictRoot(Target calldata target) external;

    /// @notice The aggregate has another number of values than another blob: the version's and parent's only under server
    /// rule 1.
    /// @param membership For Tree.Contribution; else ignored.
    function convictSize(
        Target calldata target,
        Counted calldata aggregate,
        Tree tree,
        Counted calldata counted,
        Membership calldata membership
    ) external;

    /// @notice A chunk has another length than its place says, or holds a value that no update may hold.
    /// @param tree Aggregate, Version (length only) or Contribution.
    /// @param coordinate Of the value; its chunk is coordinate / CHUNK_VALUES.
    function convictChunk(
        Target calldata target,
        Tree tree,
        Membership calldata membership,
        uint64 coordinate,
        Opening calldata opening
    ) external;

    /// @notice version != f32(f64(parent) + f64(aggregate)).
    function convictVersion(
        Target calldata target,
        uint64 coordinate,
        Opening calldata parent,
        Opening calldata aggregate,
        Opening calldata version
    ) external;

    // ------------------------------------------------------------------------------ Challenges of several transactions

    /// @notice Adds contributions, in order, to the caller's progress on one coordinate.
    /// @param coordinate All ones to add up weights alone.
    function addContributions(
        Target calldata target,
        uint64 coordinate,
        Sum calldata progress,
        Step[] calldata steps
    ) external;

    /// @notice The last steps, and the aggregate's chunk.
    function convictAggregate(
        Target calldata target,
        uint64 coordinate,
        Sum calldata progress,
        Step[] calldata steps,
        Opening calldata aggregate
    ) external;

    function convictTotal(Target calldata target, Sum calldata progress, Step[] calldata steps) external;

    /// @notice Replays commitments in commit order, none of which is the contribution that `leaf` encodes.
    /// @param running The running hash so far; zero to begin.
    function replayCommitments(
        Target calldata target,
        bytes32 leafHash,
        bytes32 running,
        Contribution[] calldata commitments
    ) external;

    /// @param index Where `opening.leaf` stands in the contributions root.
    function convictUncommitted(
        Target calldata target,
        uint64 index,
        Opening calldata opening,
        bytes32 running,
        Contribution[] calldata commitments
    ) external;

    // -------------------------------------------------------------------------------------------------------- Receipts

    /// @notice Whether a contribution is in the version that a round made.
    function isIncluded(Target calldata target, Membership calldata membership) external view returns (bool);

    /// @notice Whether a participant has no contribution in the version that a round made, the list being ascending.
    /// @param neighbours Those before and after it; only one where it would stand first or last.
    function isExcluded(Target calldata target, address participant, Membership[] calldata neighbours)
        external
        view
        returns (bool);
}
