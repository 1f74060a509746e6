// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId, RoundId} from "./ICairn.sol";
import {Basis, Contribution, Counted, HeadKind, IDisputed, Membership, Opening, Target, Tree} from "./IDisputed.sol";
import {Fault, ICourt} from "./ICourt.sol";

/// @notice What a round does to the coordinates of a segment.
enum SegmentKind {
    Parameter, // the server program makes a step of the aggregate
    Buffer, // the aggregate is the step; the server program and its state leave it alone
    NonNegative // a buffer that cannot fall below zero
}

/// @notice A run of coordinates, at its place in the segments' root. Its leaf is the packed encoding of first, length,
/// exponent and kind.
struct Segment {
    Counted counted;
    uint64 index;
    uint64 first;
    uint64 length;
    /// e: updates are grid values of the delta divided by 2^e.
    int16 exponent;
    SegmentKind kind;
    bytes32[] proof;
}

/// @notice What a participant committed.
struct Commitment {
    address participant;
    bytes32 digest;
    bytes32 tensorRoot;
    uint32 weight;
    uint32 steps;
}

/// @notice What a coordinate of version and state is computed from. State openings are empty where the rules have none,
/// or the parent's state is the initial one.
struct Before {
    uint64 coordinate;
    Segment segment;
    Opening parent;
    Opening aggregate;
    Opening state;
}

/// @notice One step of adding up: a contribution and, unless only its numbers are added, its chunk.
struct Step {
    Contribution contribution;
    Opening chunk;
}

/// @notice Where the values of a coordinate lie, for rules that order them: median, trimmed mean, Bulyan.
struct Middle {
    /// Integers that the challenger says are the ends of what is not left out. Zero for a fold.
    int32 least;
    int32 greatest;
    /// Values so far, by where they lie.
    uint32 below;
    uint32 atLeast;
    uint32 atGreatest;
    uint32 above;
}

/// @notice Where the values of a coordinate lie, for rules that take those nearest to the median: Bulyan. With M twice
/// the median, the window is from `least` to M - least; zeros for other rules.
struct Window {
    /// Integer that the challenger says is as far below the median as the farthest value that is not left out is from it.
    int32 least;
    /// Values so far: strictly within, and at each end.
    uint32 within;
    uint32 atLeast;
    uint32 atGreatest;
}

/// @notice How far adding up has come. The first step is given zeros and no peaks, but for each `least` and `greatest`.
struct Sum {
    /// Contributions added.
    uint32 next;
    uint64 weight;
    uint64 steps;
    uint64 factor;
    /// Of factor times grid integer; for columns, of the grid integers between `least` and `greatest`; for select columns,
    /// of the selected ones strictly within the window.
    int256 sum;
    /// For columns, from the least to the greatest value that is not left out; for select columns, the two in the middle of
    /// the selected, which are one for an odd number.
    Middle middle;
    Window window;
    /// Roots of the perfect subtrees of the contributions so far, largest first.
    bytes32[] peaks;
}

/// @title Challenges: one coordinate is enough
/// @notice Shows the court what aggregators attested and what is not so. Arithmetic is in integers; tree sizes come from
/// the roots. A challenge that proves nothing reverts. Receipts: who is in a version, and who is not.
///
/// Rules. The challenger shows the rule bytes. The aggregate can be held against its contributions under every shape of
/// combine rule (see `Shape`), version and state against their parent under every server program, and the list of
/// contributions against the commitments.
///
/// Assumptions. `sha256` is collision resistant. The parent's root is that of its values: aggregators check it before
/// they attest.
interface IChallenges is IDisputed {
    // ---------------------------------------------------------------------------------------------------------- Events

    /// @notice A challenge of several transactions went on.
    event ChallengeAdvanced(RoundId indexed roundId, bytes32 indexed tally, address indexed challenger, uint32 next);

    // ---------------------------------------------------------------------------------------------------------- Errors

    /// @notice Not a blob that attesters answer for.
    error BadTree(Tree tree);
    /// @notice The given progress is not the sender's last.
    error BadProgress(address challenger);
    /// @notice More contributions than the result has.
    error TooManySteps(uint32 next, uint32 contributions);
    /// @notice The list is not at its end.
    error TooFewSteps(uint32 next, uint32 contributions);
    /// @notice What was streamed is not the round's list.
    error OtherList(bytes32 given, bytes32 expected);
    /// @notice A value that no update may hold: challenge the chunk.
    error NotOnGrid(uint64 coordinate);
    /// @notice The parent's value is not finite.
    error NotFinite(uint64 coordinate);
    /// @notice Updates have a form whose values the chain does not read.
    error FormNotDisputable(uint16 updateForm);
    /// @notice These are not the ends of what is not left out.
    error OtherMiddle(int32 least, int32 greatest);
    /// @notice The segment does not hold the coordinate.
    error BadSegment(uint64 first, uint64 length);
    /// @notice Under these rules and on this parent nobody honest attests: e - s - f is beyond what a step may be.
    error BadExponent(int256 exponent);
    /// @notice The contribution is among the commitments.
    error ItIsCommitted(address participant);
    /// @notice These bytes are no head that hashes to the anchored digest.
    error OtherHead(bytes32 given, bytes32 expected);
    /// @notice What the challenge is about is as it should be.
    error NothingWrong(Fault fault);
    /// @notice The round has no final result, or another one.
    error NotFinalized(ModelId modelId, uint64 number);

    // ------------------------------------------------------------------------------------------------------- Constants

    // slither-disable-next-line naming-convention
    function COURT() external view returns (ICourt);

    // ----------------------------------------------------------------------------------- Challenges of one transaction

    function convictCount(Target calldata target, Counted calldata counted) external;

    function convictOrder(Target calldata target, Membership calldata left, Membership calldata right) external;

    /// @notice Two contributions have one digest: no head names two participants.
    function convictTwice(Target calldata target, Membership calldata left, Membership calldata right) external;

    /// @notice What was anchored as a head is none, or one of something else. A head is the DAG-CBOR of a list of two: a
    /// byte string of packed fields, and a link to the manifest. Fields, integers big-endian: the kind, 1 to 3, as uint8;
    /// chain id, uint64; Cairn's address; model; number, uint64; parent; plan; and then
    /// of an update: participant, tensor root, weight, steps;
    /// of a version: its five roots, the aggregate's;
    /// of a report: the running hash, the roots of aggregate and contributions, the result's four numbers; and, where the
    /// rules select, any two words, the Gram part that `ISelections` says more about.
    /// @param membership For HeadKind.Update; else ignored.
    /// @param head Any bytes that hash to the digest.
    function convictHead(Target calldata target, HeadKind kind, Membership calldata membership, bytes calldata head)
        external;

    /// @notice The factor of a contribution is not what the rules give it: its weight, or 1 where each counts once; under a
    /// rule that selects, more than its weight, or than 2^16 where each counts once; under select columns, than 1 there.
    /// @param index Where `opening.leaf` stands in the contributions root.
    function convictFactor(Target calldata target, Basis calldata basis, uint64 index, Opening calldata opening) external;

    /// @notice The version's roots, but for the tensor root, do not follow from rules and parent: the rest is another, or
    /// there is a state under rules without one or none under rules with one, or its layout or step is another.
    function convictRoots(Target calldata target, Basis calldata basis) external;

    /// @notice A blob has another number of values than the rules say. The parent's and the state's that they go on with,
    /// too: nobody makes a result under a plan that does not fit them.
    /// @param membership For Tree.Contribution; else ignored.
    function convictSize(
        Target calldata target,
        Basis calldata basis,
        Tree tree,
        Counted calldata counted,
        Membership calldata membership
    ) external;

    /// @notice A chunk has another length than its place says, or holds a value that no update may hold.
    /// @param tree Aggregate, Contribution, or, for the length only, Version or State.
    /// @param coordinate Of the value.
    function convictChunk(
        Target calldata target,
        Basis calldata basis,
        Tree tree,
        Membership calldata membership,
        uint64 coordinate,
        Opening calldata opening
    ) external;

    /// @notice version != f32(f64(parent) + f64(d) * 2^(e - s - f)), saturated to finite values, d being the step that
    /// the server program makes of the aggregate; of a buffer, the aggregate's integer with f = 0.
    function convictVersion(
        Target calldata target,
        Basis calldata basis,
        Before calldata before,
        Opening calldata version
    ) external;

    /// @notice The states of a coordinate are not those that the server program leaves; of a buffer, not the parent's.
    function convictState(Target calldata target, Basis calldata basis, Before calldata before, Opening calldata state)
        external;

    // ----------------------------------------------------------------------------- Challenges of several transactions

    /// @notice Adds contributions, in order, to the caller's progress on one coordinate. Without any, the window stays.
    /// @param coordinate All ones to add up weights, steps and factors alone.
    function addContributions(
        Target calldata target,
        Basis calldata basis,
        uint64 coordinate,
        Sum calldata progress,
        Step[] calldata steps
    ) external;

    /// @notice The last steps, and the aggregate's chunk. Of columns nothing is sorted: values below, at and above the
    /// challenger's `least` and `greatest` are counted, which tells whether these are what they should be. Of select
    /// columns those with a factor count, and whether the rule selects them is not asked.
    function convictAggregate(
        Target calldata target,
        Basis calldata basis,
        uint64 coordinate,
        Sum calldata progress,
        Step[] calldata steps,
        Opening calldata aggregate
    ) external;

    /// @notice Weights or steps add up to something else than the result says, or factors to another divisor: under a rule
    /// that selects, to more than its divisor; under select columns, to another, or to fewer than are selected at least.
    function convictTotal(Target calldata target, Basis calldata basis, Sum calldata progress, Step[] calldata steps)
        external;

    /// @notice Replays commitments in commit order, none of which is the one sought.
    /// @param sought keccak256(abi.encode(Commitment)): of a leaf of 192 bytes, the hash of the first 160; of a leaf of
    /// another length, which is no contribution, all ones.
    /// @param running The running hash so far; zero to begin.
    function replayCommitments(
        Target calldata target,
        bytes32 sought,
        bytes32 running,
        Commitment[] calldata commitments
    ) external;

    /// @notice The last commitments, and a leaf of the contributions root whose commitment was none of them.
    /// @param index Where `opening.leaf` stands in the contributions root.
    function convictUncommitted(
        Target calldata target,
        uint64 index,
        Opening calldata opening,
        bytes32 running,
        Commitment[] calldata commitments
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
