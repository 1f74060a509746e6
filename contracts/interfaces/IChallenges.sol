// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Phase, Result, RoundId} from "./ICairn.sol";

/// @notice What is wrong with a convicted result.
enum Fault {
    None,
    Count, // the contributions root holds another number of contributions than the result says
    Order, // two neighbouring contributions are not strictly ascending by participant
    Uncommitted, // a contribution is not, or not so, among the round's commitments
    Total, // the weights add up to something else
    Root, // the version has no tensor root though its parent has one, or the other way round
    Size, // two blobs that hold the same coordinates hold different numbers of values
    Chunk, // a chunk of the wrong length, or a value that is not a canonical grid value
    Aggregate, // a coordinate of the aggregate is not the rounded weighted mean
    Version, // a coordinate of the version is not its parent's plus the aggregate's
    Unanswered // a demanded leaf was not shown in time
}

/// @notice What of a result a claim is about. All faults of one part are one claim, since who sees one sees the others.
enum Part {
    Whole, // contributions, counts and sizes; index 0
    Values, // chunk `index` of all blobs
    Service // leaves not shown; index 0
}

/// @notice The blobs of a round that have the same coordinates.
enum Tree {
    Aggregate,
    Version,
    Parent,
    Contribution
}

/// @notice A result in its challenge window.
struct Target {
    ModelId modelId;
    uint64 number;
    Result result;
}

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

/// @notice A leaf of the contributions root is the abi.encode of this.
struct Contribution {
    address participant;
    bytes32 digest;
    bytes32 tensorRoot;
    uint32 weight;
}

/// @notice A contribution at its place in the contributions root.
struct Membership {
    Counted counted;
    uint64 index;
    Contribution contribution;
    bytes32[] proof;
}

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

/// @notice A leaf that attesters are to show.
struct Demanded {
    RoundId roundId;
    bytes32 tally;
    /// The counted root it is a leaf of.
    bytes32 root;
    /// Whether that is a contributions root; else it is a tensor root.
    bool contributions;
    uint64 index;
}

struct Demand {
    address demander;
    uint96 deposit;
    /// First second in which it is too late to answer; 0 for no such demand.
    uint40 deadline;
    /// Answered, or given up.
    bool closed;
    bool answered;
}

struct Conviction {
    /// keccak256(abi.encode(roundId, tally, part, index)).
    bytes32 claim;
    Fault fault;
    /// Seals made later do not count.
    uint64 order;
    /// First second in which seals can no longer be revealed.
    uint40 revealDeadline;
    /// Who revealed the earliest seal.
    address leader;
    uint64 leaderOrder;
}

struct Bond {
    uint128 amount;
    /// The last round attested with it; 0 for none.
    uint64 lockedRound;
}

/// @title Challenges: one coordinate is enough
/// @notice Makes void what aggregators attested and what is not so, or what they do not show. Arithmetic is in integers;
/// tree sizes come from the roots. A challenge that proves nothing reverts.
///
/// Rules. The aggregate can be held against its contributions under combine rule 1, the version against its parent under
/// server rule 1. Other rules are replayed by readers. The list of contributions can be held against the commitments
/// under every rule.
///
/// Money. Bonds, deposits and rewards stay here until their owner withdraws them. Bonds that are taken are burnt (they
/// never leave), but for half of one for each void result, which goes to whoever sealed the claim first and reveals it: so
/// whoever convicts himself loses half a bond at least, however many attested with him. An answer earns the demand's
/// deposit.
///
/// Assumptions. A transaction is included within an answer time. `sha256` is collision resistant. The parent's root is
/// that of its values: aggregators check it before they attest.
interface IChallenges {
    // ---------------------------------------------------------------------------------------------------------- Events

    event ClaimSealed(bytes32 indexed seal, uint64 order);
    event ChallengeAdvanced(RoundId indexed roundId, bytes32 indexed tally, address indexed challenger, uint32 next);
    event ResultConvicted(
        RoundId indexed roundId,
        bytes32 indexed tally,
        address indexed challenger,
        Fault fault,
        bytes32 claim,
        uint40 revealDeadline
    );
    event LeafDemanded(
        RoundId indexed roundId,
        bytes32 indexed tally,
        address indexed demander,
        bytes32 root,
        bool contributions,
        uint64 index,
        uint96 deposit,
        uint40 deadline
    );
    /// @notice `leaf` and `proof` are empty where `counted` shows that there is no such leaf.
    event LeafShown(
        RoundId indexed roundId,
        bytes32 indexed tally,
        address indexed answerer,
        bytes32 root,
        uint64 index,
        Counted counted,
        bytes leaf,
        bytes32[] proof
    );
    event DemandClosed(RoundId indexed roundId, bytes32 indexed tally, bytes32 root, uint64 index);
    event ClaimRevealed(RoundId indexed roundId, bytes32 indexed tally, address indexed challenger, uint64 order);
    event RewardCollected(RoundId indexed roundId, bytes32 indexed tally, address indexed challenger, uint256 amount);
    event BondDeposited(ModelId indexed modelId, address indexed aggregator, uint256 amount);
    event BondReleased(ModelId indexed modelId, address indexed aggregator, uint256 amount);
    event BondSlashed(ModelId indexed modelId, address indexed aggregator, RoundId indexed roundId, uint256 amount);
    event Withdrawn(address indexed account, uint256 amount);

    // ---------------------------------------------------------------------------------------------------------- Errors

    error NotCairn(address caller);
    /// @notice No window is open, or it is another result's.
    error NotDisputed(ModelId modelId, uint64 number, bytes32 resultHash);
    /// @notice Readers replay these rules; the chain does not convict by them.
    error RuleNotDisputable(uint16 combineRule, uint16 serverRule);
    /// @notice Count and inner root do not hash to the root.
    error BadCount(bytes32 root);
    /// @notice The leaf is not at that index of the tree.
    error BadProof(bytes32 root, uint64 index);
    error BadLength(uint256 length, uint256 expected);
    error BadIndex(uint64 index, uint64 count);
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
    error NoRoot();
    error AlreadyDemanded(bytes32 root, uint64 index);
    error BadDeposit(uint256 deposit, uint256 min, uint256 max);
    /// @notice Too close to the window's end for an answer, and for saying that there was none.
    error TooLate(uint256 time, uint40 deadline);
    error NotDemanded(bytes32 root, uint64 index);
    error DemandIsClosed(bytes32 root, uint64 index);
    error AnswerNotDue(uint40 deadline);
    error NotConvicted(RoundId roundId, bytes32 tally);
    error NotSealed(bytes32 seal);
    error RevealNotOver(uint40 revealDeadline);
    error RevealIsOver(uint40 revealDeadline);
    error BondTooSmall(ModelId modelId, address aggregator, uint256 amount, uint256 expected);
    error BondIsLocked(ModelId modelId, address aggregator, uint64 number);
    error NothingToWithdraw(address account);
    error PaymentRefused(address account);
    error NotFinalized(ModelId modelId, uint64 number);

    // ------------------------------------------------------------------------------------------------------- Constants

    // slither-disable-start naming-convention
    function CAIRN() external view returns (ICairn);
    /// @notice Gas that an answer takes at most, times the base fee is a demand's deposit.
    function ANSWER_GAS() external view returns (uint256); // 300 000
    /// @notice Largest deposit of a demand.
    function MAX_DEPOSIT() external view returns (uint256); // 0.1 ether
    /// @notice Values in a chunk.
    function CHUNK_VALUES() external view returns (uint64); // 1024
    // slither-disable-end naming-convention

    // ------------------------------------------------------------------------------------------------ Claims and rewards

    /// @notice Records that somebody knows a claim, without saying which.
    /// @param seal keccak256(abi.encode(challenger, salt, claim)).
    function sealClaim(bytes32 seal) external;

    /// @notice Shows that the caller had sealed the claim by which a result was convicted. The earliest seal leads. For
    /// an unanswered demand the caller must have made one that stands unanswered.
    /// @param demanded That demand; ignored for other faults.
    function revealClaim(RoundId roundId, bytes32 tally, bytes32 salt, Demanded calldata demanded) external;

    /// @notice Credits the reward to the leader once seals can no longer be revealed, or burns it where there is none.
    /// Anyone; once, after the first bond was taken.
    function collectReward(RoundId roundId, bytes32 tally) external;

    // ----------------------------------------------------------------------------------------------------------- Bonds

    function depositBond(ModelId modelId) external payable;

    /// @notice Credits what is not needed any more: the window of every round it covers must have closed.
    function releaseBond(ModelId modelId, uint128 amount) external;

    /// @notice Pays out what the caller has been credited.
    function withdraw() external;

    /// @notice `CAIRN` only.
    function lockBond(ModelId modelId, uint64 number, address aggregator, uint64 gweis) external;

    /// @notice `CAIRN` only.
    function slashBond(ModelId modelId, RoundId roundId, bytes32 tally, address aggregator, uint64 gweis) external;

    // ---------------------------------------------------------------------------------- Challenges of one transaction

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

    // ----------------------------------------------------------------------------- Challenges of several transactions

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

    // --------------------------------------------------------------------------------------------------------- Demands

    /// @notice Demands a leaf of a blob of the result, against a deposit that covers an answer's gas.
    function demandChunk(Target calldata target, Tree tree, Membership calldata membership, uint64 index)
        external
        payable;

    /// @notice Demands a leaf of the contributions root.
    function demandContribution(Target calldata target, uint64 index) external payable;

    /// @notice Shows a demanded leaf, or that there is none; the caller is credited the deposit. Anyone, in time.
    function showLeaf(Demanded calldata demanded, Opening calldata opening) external;

    /// @notice Closes a demand that nobody answered in time: its deposit goes back, and the result is void if it still
    /// stands in its window. Anyone; `NotDemanded` in another round than that of the demand.
    function closeDemand(ModelId modelId, uint64 number, Demanded calldata demanded) external;

    // ----------------------------------------------------------------------------------------------------------- Views

    function seals(bytes32 seal) external view returns (uint64 order);
    function conviction(RoundId roundId, bytes32 tally) external view returns (Conviction memory);
    function demand(Demanded calldata demanded) external view returns (Demand memory);
    function bond(ModelId modelId, address aggregator) external view returns (Bond memory);
    function credit(address account) external view returns (uint256);
    function reward(RoundId roundId, bytes32 tally) external view returns (uint256);
    function burnt() external view returns (uint256);
    /// @notice The deposit a demand takes at this block's base fee.
    function depositNow() external view returns (uint256);

    /// @notice Whether a contribution is in the version that a round made.
    function isIncluded(Target calldata target, Membership calldata membership) external view returns (bool);

    /// @notice Whether a participant has no contribution in the version that a round made, the list being ascending.
    /// @param neighbours Those before and after it; only one where it would stand first or last.
    function isExcluded(Target calldata target, address participant, Membership[] calldata neighbours)
        external
        view
        returns (bool);
}
