// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId, RoundId} from "./ICairn.sol";
import {IChallenges} from "./IChallenges.sol";
import {Basis, Counted, HeadKind, IDisputed, Membership, Opening, Target, Tree} from "./IDisputed.sol";
import {ISelections} from "./ISelections.sol";

/// @notice What is wrong with a convicted result.
enum Fault {
    None,
    Count, // the contributions root holds another number of contributions than the result says
    Order, // two neighbouring contributions are not strictly ascending by participant
    Uncommitted, // a contribution is not, or not so, among the round's commitments
    Total, // the weights or steps add up to something else, or the factors to more or else than the divisor
    Factor, // a contribution's factor is not what the rules give it
    Roots, // what no round changes was changed, or the state is not of these rules or of this step
    Size, // a blob holds another number of values than the rules say
    Chunk, // a chunk of the wrong length, or a value that is not a canonical grid value
    Aggregate, // a coordinate of the aggregate is not what its contributions combine to
    Version, // a coordinate of the version is not what the server program makes of its parent and the aggregate
    State, // nor one of the state
    Twice, // two contributions have one digest
    Head, // the head of a contribution, of the version or of the report says something else than was anchored
    Unanswered, // a demanded leaf was not shown in time
    Gram, // the report anchors no inner products where the rules select, or some where they do not, or in another unit
    Product, // a sum of inner products is not what the contributions give
    Selection // the factors or the divisor are not what the rule gives for the inner products
}

/// @notice What of a result a claim is about. All faults of one part are one claim, since who sees one sees the others.
enum Part {
    Whole, // contributions, counts and sizes; index 0
    Values, // chunk `index` of all blobs
    Service // leaves not shown; index 0
}

/// @notice What a challenge has shown, of the result in its window.
struct Finding {
    ModelId modelId;
    uint64 number;
    RoundId roundId;
    bytes32 tally;
    uint32 challengeDuration;
    address challenger;
    Fault fault;
    Part part;
    uint64 index;
}

/// @notice A leaf that attesters are to show.
struct Demanded {
    RoundId roundId;
    bytes32 tally;
    /// The counted root it is a leaf of; of a head, its digest.
    bytes32 root;
    /// Bytes of what that root counts, and how many of them a leaf holds: 4 and 256 for values, 8 and as many states as
    /// belong to whole coordinates for a state, 1 entry for a contributions root, 32 and one entry a contribution for
    /// inner products, 0 and 0 for a head.
    uint16 entryBytes;
    uint16 entries;
    uint64 index;
}

/// @notice A demanded leaf, and what shows it.
struct Shown {
    Demanded demanded;
    Opening opening;
}

/// @notice How a demand stands.
struct Demand {
    address demander;
    uint96 deposit;
    /// First second in which it is too late to answer in time; 0 for no such demand.
    uint40 deadline;
    /// First second in which it is too late to answer at all: the deadline, where the plan gives no late period.
    uint40 lateDeadline;
    /// Answered, or given up.
    bool closed;
    bool answered;
}

/// @notice What has been demanded of one tally and is neither shown nor given up, and what late answers cost.
struct OpenDemands {
    uint32 count;
    /// Their deposits, wei.
    uint112 deposits;
    /// Burnt of its attesters' bonds by late answers, wei; at most half of what the plan asks of all of them.
    uint112 lateBurnt;
}

/// @notice By what a result was convicted, and who has shown the earliest seal of it.
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

/// @notice What an aggregator has deposited in a model, wei, and what holds it.
struct Bond {
    uint128 amount;
    /// The last round attested with it; 0 for none.
    uint64 lockedRound;
}

/// @title Court: convictions, demands, bonds, and who is paid
/// @notice Records by what a result was convicted and makes it void; demands what attesters do not show; holds the money
/// that follows. What is wrong with a result is shown to `CHALLENGES`, or to `SELECTIONS`.
///
/// Money. Bonds, deposits and rewards stay here until their owner withdraws them. Bonds that are taken are burnt (they
/// never leave), but for half of one for each void result, which goes to whoever sealed the claim first and reveals it: so
/// whoever convicts himself loses half a bond at least, however many attested with him. An answer earns the demand's
/// deposit. A late one also burns twice as much of the attesters' bonds, but never the half that a conviction rewards.
///
/// Assumptions. A transaction is included within an answer time. `sha256` is collision resistant.
interface ICourt is IDisputed {
    // ---------------------------------------------------------------------------------------------------------- Events

    /// @notice Somebody recorded a claim without saying which.
    event ClaimSealed(bytes32 indexed seal, uint64 order);
    /// @notice A result was made void.
    event ResultConvicted(
        RoundId indexed roundId,
        bytes32 indexed tally,
        address indexed challenger,
        Fault fault,
        bytes32 claim,
        uint40 revealDeadline
    );
    /// @notice Attesters are to show a leaf.
    event LeafDemanded(
        RoundId indexed roundId,
        bytes32 indexed tally,
        address indexed demander,
        bytes32 root,
        uint16 entryBytes,
        uint16 entries,
        uint64 index,
        uint96 deposit,
        uint40 deadline,
        uint40 lateDeadline
    );
    /// @notice One of many leaves had been demanded before; what was sent for it, wei, is credited to the caller.
    event DemandSkipped(
        RoundId indexed roundId,
        bytes32 indexed tally,
        address indexed demander,
        bytes32 root,
        uint64 index,
        uint256 deposit
    );
    /// @notice A demanded leaf was shown; `leaf` and `proof` are empty where `counted` shows that there is none.
    event LeafShown(
        RoundId indexed roundId,
        bytes32 indexed tally,
        address indexed answerer,
        bytes32 root,
        uint16 entryBytes,
        uint16 entries,
        uint64 index,
        Counted counted,
        bytes leaf,
        bytes32[] proof
    );
    /// @notice `showLeaves` could not show this leaf of its list.
    /// @param reason Selector of the error that `showLeaf` gives.
    event AnswerSkipped(
        RoundId indexed roundId, bytes32 indexed tally, bytes32 root, uint64 index, bytes4 reason
    );
    /// @notice Nobody answered a demand, in time or late.
    event DemandClosed(
        RoundId indexed roundId, bytes32 indexed tally, bytes32 root, uint16 entryBytes, uint16 entries, uint64 index
    );
    /// @notice Somebody showed that they had sealed the claim.
    event ClaimRevealed(RoundId indexed roundId, bytes32 indexed tally, address indexed challenger, uint64 order);
    /// @notice The reward of a conviction, wei, went to the earliest seal, or was burnt where the challenger is zero.
    event RewardCollected(RoundId indexed roundId, bytes32 indexed tally, address indexed challenger, uint256 amount);
    /// @notice An aggregator deposited a bond, wei.
    event BondDeposited(ModelId indexed modelId, address indexed aggregator, uint256 amount);
    /// @notice An aggregator took back a bond, wei.
    event BondReleased(ModelId indexed modelId, address indexed aggregator, uint256 amount);
    /// @notice An attester lost of its bond, wei: for a void result, or for a late answer, which the same
    /// transaction tells by LeafShown.
    event BondSlashed(ModelId indexed modelId, address indexed aggregator, RoundId indexed roundId, uint256 amount);
    /// @notice What an account had been credited, wei, was paid out to whom it said.
    event Withdrawn(address indexed account, address indexed to, uint256 amount);

    // ---------------------------------------------------------------------------------------------------------- Errors

    /// @notice Only the Cairn contract may do this.
    error NotCairn(address caller);
    /// @notice Only the Challenges and the Selections contract may convict.
    error NotChallenges(address caller);
    /// @notice A list of demands without any.
    error NothingDemanded();
    /// @notice Nothing of the list is new; the last index stands for all.
    error AlreadyDemanded(bytes32 root, uint64 index);
    /// @notice What was sent, wei, is not so many equal deposits.
    error UnequalDeposits(uint256 value, uint256 count);
    /// @notice A deposit, wei, under the present cost of an answer or over the maximum.
    error BadDeposit(uint256 deposit, uint256 min, uint256 max);
    /// @notice Too close to the window's end for an answer, and for saying that there was none.
    error TooLate(uint256 time, uint40 deadline);
    /// @notice No such demand.
    error NotDemanded(bytes32 root, uint64 index);
    /// @notice The demand was answered, or given up.
    error DemandIsClosed(bytes32 root, uint64 index);
    /// @notice There is still time to answer: in time, before a late answer; late, before the demand is closed.
    error AnswerNotDue(uint40 deadline);
    /// @notice Another number of attesters than the quorum that attested the result.
    error WrongAttesterCount(uint256 given, uint16 expected);
    /// @notice Not strictly ascending, or its attestation is another one.
    error NotAttester(address account);
    /// @notice No such conviction.
    error NotConvicted(RoundId roundId, bytes32 tally);
    /// @notice No such seal was recorded before the conviction.
    error NotSealed(bytes32 seal);
    /// @notice Seals can still be revealed.
    error RevealNotOver(uint40 revealDeadline);
    /// @notice Seals can no longer be revealed.
    error RevealIsOver(uint40 revealDeadline);
    /// @notice The bond, wei, does not reach.
    error BondTooSmall(ModelId modelId, address aggregator, uint256 amount, uint256 expected);
    /// @notice A round that the bond covers can still be challenged, or was lost.
    error BondIsLocked(ModelId modelId, address aggregator, uint64 number);
    /// @notice Nothing is credited.
    error NothingToWithdraw(address account);
    /// @notice The payee does not take the payment.
    error PaymentRefused(address account);

    // ------------------------------------------------------------------------------------------------------- Constants

    // slither-disable-start naming-convention
    function CHALLENGES() external view returns (IChallenges);
    function SELECTIONS() external view returns (ISelections);
    /// @notice Gas that an answer takes at most, times the base fee is a demand's deposit.
    function ANSWER_GAS() external view returns (uint256); // 150 000
    /// @notice Largest deposit of a demand.
    function MAX_DEPOSIT() external view returns (uint256); // 0.1 ether
    /// @notice Bytes that are shown of a head at most; those that `convictHead` asks for are shorter.
    function MAX_HEAD() external view returns (uint256); // 1024
    // slither-disable-end naming-convention

    // ----------------------------------------------------------------------------------------------------- Convictions

    /// @notice Convicts a result, which makes it void. `CHALLENGES` and `SELECTIONS` only, which have seen what is wrong.
    function convict(Finding calldata finding) external;

    // ---------------------------------------------------------------------------------------------- Claims and rewards

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

    /// @notice Pays out what the caller has been credited, to any account: a contract that takes no money keeps its
    /// credit, and can have it paid elsewhere. `PaymentRefused` where `to` takes none; the zero address never does.
    function withdraw(address to) external;

    /// @notice `CAIRN` only.
    function lockBond(ModelId modelId, uint64 number, address aggregator, uint64 gweis) external;

    /// @notice `CAIRN` only.
    function slashBond(ModelId modelId, RoundId roundId, bytes32 tally, address aggregator, uint64 gweis) external;

    // --------------------------------------------------------------------------------------------------------- Demands

    /// @notice Demands leaves of a blob of the result. What is sent is divided into equal deposits, each of which covers
    /// an answer's gas. One that was demanded before is skipped and its deposit credited; at least one must be new.
    /// @param basis For Tree.Parent, Contribution, State and ParentState; else ignored.
    function demandChunks(
        Target calldata target,
        Basis calldata basis,
        Tree tree,
        Membership calldata membership,
        uint64[] calldata indices
    ) external payable;

    /// @notice Demands leaves of the contributions root, likewise.
    function demandContributions(Target calldata target, uint64[] calldata indices) external payable;

    /// @notice Demands a head: bytes that hash to what was anchored, at most MAX_HEAD of them, so that what is shown can be
    /// charged. The answer's leaf holds them.
    /// @param membership For HeadKind.Update; else ignored.
    function demandHead(Target calldata target, HeadKind kind, Membership calldata membership) external payable;

    /// @notice Demands leaves of the inner products that the report anchors, likewise. See `ISelections`.
    /// @param head Of the report, with the Gram part.
    function demandGram(Target calldata target, bytes calldata head, uint64[] calldata indices) external payable;

    /// @notice Shows a demanded leaf, or that there is none; the caller is credited the deposit. Anyone, in time.
    function showLeaf(Demanded calldata demanded, Opening calldata opening) external;

    /// @notice Shows many; one that cannot be shown is skipped and keeps no other from being so.
    function showLeaves(Shown[] calldata shown) external;

    /// @notice Shows a demanded leaf of the result in its window after the deadline, before the late one. As `showLeaf`;
    /// and twice the deposit is burnt of the attesters' bonds, in equal shares, rounded down. Late answers of one result
    /// burn half of what the plan asks of its attesters at most, and of each bond what is above that half; beyond it they
    /// are taken and burn nothing. Anyone.
    /// @param attesters All of the result, strictly ascending.
    function showLate(
        ModelId modelId,
        uint64 number,
        Demanded calldata demanded,
        Opening calldata opening,
        address[] calldata attesters
    ) external;

    /// @notice Closes a demand that nobody answered, in time or late: its deposit goes back, and the result is void if it still
    /// stands in its window. Anyone; `NotDemanded` in another round than that of the demand.
    function closeDemand(ModelId modelId, uint64 number, Demanded calldata demanded) external;

    // ----------------------------------------------------------------------------------------------------------- Views

    function seals(bytes32 seal) external view returns (uint64 order);
    function conviction(RoundId roundId, bytes32 tally) external view returns (Conviction memory);
    function demand(Demanded calldata demanded) external view returns (Demand memory);
    function openDemands(RoundId roundId, bytes32 tally) external view returns (OpenDemands memory);
    function bond(ModelId modelId, address aggregator) external view returns (Bond memory);
    /// @notice What an attestation in this round must hold as a bond, wei.
    function bondAsked(ModelId modelId, uint64 number) external view returns (uint256);
    function credit(address account) external view returns (uint256);
    function reward(RoundId roundId, bytes32 tally) external view returns (uint256);
    function burnt() external view returns (uint256);
    /// @notice The deposit a demand takes in this round: what an answer costs at this block's base fee, at most
    /// MAX_DEPOSIT, or what the round's plan asks, if that is more.
    function depositNow(ModelId modelId, uint64 number) external view returns (uint256);
}
