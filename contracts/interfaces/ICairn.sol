// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "./IChallenges.sol";
import {ICourt} from "./ICourt.sol";
import {IFactory} from "./IFactory.sol";
import {IRules} from "./IRules.sol";

// Roles of an account in a model, as bits.
uint8 constant PARTICIPANT = 1;
uint8 constant AGGREGATOR = 2;
uint8 constant AUDITOR = 4; // grants no right here: anyone may challenge or demand; stored for hooks and other readers
uint8 constant READER = 8; // likewise
uint8 constant VALIDATOR = 16; // likewise; Scores asks for it

/// @dev keccak256(abi.encode(chainId, contract, first owner, genesis digest)).
type ModelId is bytes32;

/// @dev keccak256(abi.encode(modelId, number)).
type RoundId is bytes32;

/// @notice Where a round stands. Derived from its deadlines and the block's time, never stored.
/// @dev A deadline is the first second that no longer belongs to its phase. `Final` says that the result can no longer
/// change, whether or not `finalizeRound` has been called; `Round.finalized` says that the head has moved.
enum Phase {
    None, // no such round
    Commit, // participants commit the digests of their updates
    Publish, // participants publish what they committed
    Aggregate, // aggregators attest results
    Challenge, // a quorum agrees; the result may be disputed
    Final, // the result stands
    Cancelled // by the owner, or no quorum in time; the number stays used
}

/// @notice The rules of a model's rounds. An entry of the plan history never changes; a round names its entry.
struct Plan {
    /// sha2-256 of the plan manifest. Never zero.
    bytes32 digest;
    /// keccak256 of the rule bytes, see `IRules`: how contributions are combined and a version is made of the aggregate.
    bytes32 rulesHash;
    /// Equal attestations that make a result. At least 1.
    uint16 quorum;
    /// Largest weight of one update, 1..MAX_WEIGHT.
    uint32 weightCap;
    /// Fewest contributions a result may have. At least 1.
    uint32 minContributions;
    /// Seconds, MIN_DURATION..MAX_DURATION each.
    uint32 commitDuration;
    uint32 publishDuration;
    uint32 aggregateDuration;
    uint32 challengeDuration;
    /// Seconds in which a demanded leaf is shown: MIN_DURATION..`challengeDuration` / WALK_STEPS.
    uint32 answerDuration;
    /// What an aggregator must have deposited to attest, in gwei; zero for none.
    uint64 bondGwei;
    /// Least deposit of a demanded leaf, in gwei: 0..MAX_DEMAND_PRICE_GWEI of Rules. It goes to whoever answers.
    uint32 demandPriceGwei;
    /// Seconds after the answer time in which a leaf may still be shown, which then burns of the attesters' bonds; zero
    /// for none, and without a bond. With the answer time at most `challengeDuration` / WALK_STEPS.
    uint32 lateDuration;
    /// Commitments with which anyone may end phase Commit before its time: at least `minContributions`; zero if only
    /// all participants together may.
    uint32 enoughCommitments;
    /// Seconds that phase Commit has at least, however many have committed: MIN_DURATION..`commitDuration`; zero without
    /// `enoughCommitments`. Whoever takes longer than that may be left out.
    uint32 leastCommitDuration;
    /// Asked at each commit, in this order; at most MAX_HOOKS of Rules, none of them zero.
    address[] hooks;
}

/// @notice An update as its participant signed it, for whoever sends it.
struct SignedUpdate {
    address participant;
    bytes32 digest;
    bytes32 tensorRoot;
    uint32 weight;
    uint32 steps;
    /// Last second at which the signature counts; the commit deadline ends it as well.
    uint64 validUntil;
    /// See `commitUpdate`.
    bytes[] hookData;
    /// Of `commitmentHash`: by the participant's key, or as its contract accepts (EIP-1271).
    bytes signature;
}

/// @notice The roots of a version: everything in it that later rounds are computed from.
struct Roots {
    /// Counted Merkle root of the F32 values of its file, wherever they stand in it. Never zero.
    bytes32 tensor;
    /// sha2-256 of everything else in its file, header included. Rounds leave it as it is. Never zero.
    bytes32 rest;
    /// Counted Merkle root of the server's state; zero for the initial state.
    bytes32 state;
    /// What that state is laid out by, see `IRules.layoutOf`; a state of another layout counts as the initial one.
    bytes32 stateLayout;
    /// Server steps that the state has seen.
    uint64 step;
}

/// @notice What aggregators attest.
struct Result {
    /// sha2-256 of the head of the new version. Never zero, never a known version of the model.
    bytes32 versionDigest;
    /// Of the new version.
    Roots roots;
    /// sha2-256 of the report's head. Never zero.
    bytes32 reportDigest;
    /// Tensor root of the aggregate. Never zero.
    bytes32 aggregateRoot;
    /// Built like a tensor root over abi.encode(participant, digest, tensorRoot, weight, steps, factor), strictly
    /// ascending by participant. The factor is what the contribution counts in the sum: its weight, or 1 where each
    /// counts once; under a rule that selects, never more than its weight, or than 2^16 where each counts once. Never
    /// zero.
    bytes32 contributionsRoot;
    /// Number of contributions, at most the round's commitments.
    uint32 contributions;
    /// Sum of their weights, contributions..MAX_WEIGHT.
    uint32 totalWeight;
    /// Sum of their steps, contributions..2^37.
    uint64 totalSteps;
    /// What the sum of factor times update is divided by: the sum of the factors; under a rule that selects, never less.
    /// 1..MAX_WEIGHT.
    uint32 divisor;
}

/// @notice How a result stands once it has had its quorum.
enum Standing {
    Sound,
    Unanswered, // void: a demanded leaf was not shown in time; it may be attested anew, counted from zero
    Convicted // void for what it says; never again
}

/// @notice What a challenge needs to know of the result whose window is open.
struct Dispute {
    RoundId roundId;
    /// See `tallyOf`; zero where no window is open.
    bytes32 tally;
    bytes32 resultHash;
    /// The running hash of the round before any commitment.
    bytes32 firstHash;
    /// And after all.
    bytes32 runningHash;
    bytes32 parent;
    /// keccak256(abi.encode(Roots)) of the parent.
    bytes32 parentRoots;
    bytes32 planDigest;
    /// keccak256 of the plan's rule bytes.
    bytes32 rulesHash;
    uint32 challengeDuration;
    uint40 challengeDeadline;
}

/// @notice Roles for one account, for batches.
struct Grant {
    address account;
    uint8 roles;
}

/// @notice A model as `model` shows it.
struct Model {
    address owner;
    /// Zero unless an ownership transfer waits for acceptance.
    address pendingOwner;
    /// Digest of the newest sound version.
    bytes32 head;
    /// Accounts that hold PARTICIPANT.
    uint32 participants;
    /// Number of the last round opened; 0 before the first.
    uint64 rounds;
    /// Entries of the plan history.
    uint32 plans;
    /// No new round opens while set.
    bool suspended;
}

/// @notice A member as `member` shows it.
struct Member {
    uint8 roles;
    /// Number of the last round this account committed in; 0 for none. Survives a revocation.
    uint64 lastRound;
}

/// @notice A version as `version` shows it.
struct Version {
    bool known;
    /// Zero for a genesis.
    bytes32 parent;
    /// keccak256(abi.encode(Roots)).
    bytes32 roots;
    /// Published by the owner and not the result of a round (true for a genesis too).
    bool outsideRound;
    bool deprecated;
}

/// @notice A round as `round` shows it.
struct Round {
    uint40 commitDeadline;
    uint40 publishDeadline;
    uint40 aggregateDeadline;
    /// Zero until a quorum agrees.
    uint40 challengeDeadline;
    uint32 weightCap;
    uint16 quorum;
    /// Entry of the plan history this round runs under.
    uint32 planIndex;
    bool cancelled;
    /// At least one result has been attested.
    bool attested;
    bool finalized;
    /// Hash chain over the commitments, with their number, see `commitUpdate`.
    bytes32 runningHash;
    /// keccak256(abi.encode(Result)) that a quorum attested; zero before.
    bytes32 resultHash;
    /// Commitments so far.
    uint32 commitments;
    /// Commits ended before their time, since everybody had committed, or enough had.
    bool endedEarly;
    /// The challenge window has been moved, which happens once.
    bool extended;
    /// Attesters of results that were made void, who have not been expelled yet.
    uint32 unexpelled;
}

/// @title Cairn: anchors for models that many parties train together
/// @notice Holds digests, phases and roles. Bytes live in content stores; a digest is the sha2-256 of a manifest there, or of its head.
///
/// Assumptions. Block time never runs backwards. A hook named by an owner may refuse commits to that owner's model and
/// nothing else. Tensor roots, weights and steps are what participants declare: readers recompute the roots.
///
/// Sharp edges. A commitment is final: there is no second one in the same round. A round that lapses keeps its number.
/// Losing the owner key freezes members and plan, not the rounds: participants and aggregators may open them.
/// A plan set while a round is open counts from the next round on.
/// Attesters of a void result lose their role by `expel`, which anyone may call; until then they cannot attest in that
/// round, and no next round opens.
interface ICairn {
    // ---------------------------------------------------------------------------------------------------------- Events

    /// @notice A model began.
    event ModelRegistered(
        ModelId indexed modelId, address indexed owner, bytes32 genesisDigest, bytes32 tensorRoot, bytes32 restRoot
    );
    /// @notice A model was offered to another account, or the offer withdrawn (zero).
    event OwnershipTransferStarted(ModelId indexed modelId, address indexed owner, address indexed pendingOwner);
    /// @notice A model has another owner.
    event OwnershipTransferred(ModelId indexed modelId, address indexed previousOwner, address indexed owner);
    /// @notice No new round opens.
    event RoundsSuspended(ModelId indexed modelId);
    /// @notice New rounds open again.
    event RoundsResumed(ModelId indexed modelId);
    /// @notice A version that no round made.
    event VersionPublished(
        ModelId indexed modelId, bytes32 indexed digest, bytes32 indexed parent, bytes32 tensorRoot, bytes32 restRoot
    );
    /// @notice A version is not to be used any more.
    /// @param replacement The new head where `digest` was the head, else zero.
    event VersionDeprecated(ModelId indexed modelId, bytes32 indexed digest, bytes32 reasonDigest, bytes32 replacement);
    /// @notice An account was given roles, or lost some.
    /// @param roles All role bits of the account after the change.
    event RolesChanged(ModelId indexed modelId, address indexed account, uint8 roles);
    /// @notice A standing plan, from the next round on.
    /// @param rules The rule bytes that `plan.rulesHash` is of.
    event PlanSet(ModelId indexed modelId, uint32 indexed planIndex, Plan plan, bytes rules);
    /// @notice A round began.
    event RoundOpened(
        ModelId indexed modelId,
        uint64 indexed number,
        RoundId indexed roundId,
        bytes32 parent,
        uint32 planIndex,
        uint40 commitDeadline,
        uint40 publishDeadline,
        uint40 aggregateDeadline,
        bytes32 runningHash
    );
    /// @notice A participant committed an update. Commit order is log order.
    event UpdateCommitted(
        RoundId indexed roundId,
        address indexed participant,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps
    );
    /// @notice `commitUpdatesFor` could not make this commitment of its list.
    /// @param reason Selector of the error that `commitUpdateFor` gave, a hook's own included; zero where it gave none.
    event CommitmentSkipped(RoundId indexed roundId, address indexed participant, bytes4 reason);
    /// @notice Phase Commit ended early.
    event CommitsEnded(
        RoundId indexed roundId,
        uint32 commitments,
        uint40 commitDeadline,
        uint40 publishDeadline,
        uint40 aggregateDeadline
    );
    /// @notice An aggregator attested a result.
    /// @param votes Equal attestations of this result, this one included.
    event ResultAttested(
        RoundId indexed roundId, address indexed aggregator, bytes32 indexed resultHash, Result result, uint32 votes
    );
    /// @notice A result has its quorum; the challenge window is open.
    event QuorumReached(RoundId indexed roundId, bytes32 indexed resultHash, uint40 challengeDeadline);
    /// @notice The first challenge or demand in a window moved its end; nothing moves it again.
    event WindowExtended(RoundId indexed roundId, uint40 challengeDeadline);
    /// @notice A result that had its quorum stands no longer; aggregation goes on.
    /// @param tally What its attesters attested, see `tallyOf`.
    event ResultVoided(
        RoundId indexed roundId,
        bytes32 indexed resultHash,
        bytes32 indexed tally,
        Standing standing,
        uint40 aggregateDeadline
    );
    /// @notice An attester of a void result lost the role.
    event AggregatorExpelled(RoundId indexed roundId, address indexed aggregator, bytes32 indexed tally);
    /// @notice The head moved to the result of a round.
    event RoundFinalized(
        ModelId indexed modelId,
        uint64 indexed number,
        RoundId indexed roundId,
        bytes32 versionDigest,
        Roots roots,
        bytes32 parent
    );
    /// @notice A round ended without a result.
    event RoundCancelled(ModelId indexed modelId, uint64 indexed number, RoundId indexed roundId);

    // ---------------------------------------------------------------------------------------------------------- Errors

    /// @notice No such model.
    error UnknownModel(ModelId modelId);
    /// @notice This owner registered this genesis already.
    error ModelExists(ModelId modelId);
    /// @notice Only the owner of the model may do this.
    error NotOwner(ModelId modelId, address caller);
    /// @notice Ownership was not offered to the caller.
    error NotPendingOwner(ModelId modelId, address caller);
    /// @notice An address must not be zero.
    error ZeroAddress();
    /// @notice A digest must not be zero.
    error ZeroDigest();
    /// @notice A root must not be zero.
    error ZeroRoot();
    /// @notice No such version of the model.
    error UnknownVersion(ModelId modelId, bytes32 digest);
    /// @notice The model has this version already.
    error VersionExists(ModelId modelId, bytes32 digest);
    /// @notice The version is deprecated.
    error VersionIsDeprecated(ModelId modelId, bytes32 digest);
    /// @notice Deprecating the head needs a known, sound replacement; any other version needs none (zero).
    error UnsoundReplacement(ModelId modelId, bytes32 digest, bytes32 replacement);
    /// @notice Rounds are suspended already.
    error AlreadySuspended(ModelId modelId);
    /// @notice Rounds are not suspended.
    error NotSuspended(ModelId modelId);
    /// @notice No new round while the owner has suspended them.
    error RoundsAreSuspended(ModelId modelId);
    /// @notice The account lacks the role.
    error MissingRole(ModelId modelId, address account, uint8 role);
    /// @notice A role set that is empty or names unknown bits.
    error BadRoles(uint8 roles);
    /// @notice The model has no standing plan.
    error NoPlan(ModelId modelId);
    /// @notice No such entry of the plan history.
    error UnknownPlan(ModelId modelId, uint32 planIndex);
    /// @notice No such round.
    error UnknownRound(ModelId modelId, uint64 number);
    /// @notice The last round has not ended.
    error RoundNotEnded(RoundId roundId, Phase actual);
    /// @notice The round is in another phase.
    error WrongPhase(RoundId roundId, Phase expected, Phase actual);
    /// @notice The participant has committed in this round.
    error AlreadyCommitted(RoundId roundId, address participant);
    /// @notice A weight of zero or over the cap.
    error BadWeight(uint32 weight, uint32 cap);
    /// @notice Steps of an update out of range.
    error BadSteps(uint32 steps, uint32 max);
    /// @notice Not the signature of the participant.
    error BadSignature(address participant);
    /// @notice The participant's signature is past its deadline (`validUntil`).
    error SignatureExpired(address participant, uint64 validUntil);
    /// @notice Less than COMMIT_GAS would be left for the next commitment of the list.
    error TooLittleGas(uint256 left, uint256 needed);
    /// @notice A hook of the plan refused the commitment.
    error HookRefused(address hook);
    /// @notice Participants must be listed in strictly ascending order.
    error NotAscending(address previous, address next);
    /// @notice Not every participant is listed.
    error WrongParticipantCount(uint256 given, uint32 expected);
    /// @notice Fewer have committed than the plan calls enough.
    error TooFewCommitments(uint32 commitments, uint32 enough);
    /// @notice The least time that the plan gives phase Commit is not over.
    error TooEarlyToEnd(uint40 earliest);
    /// @notice A listed participant has not committed.
    error NotCommitted(RoundId roundId, address participant);
    /// @notice The result was computed from other commitments.
    error RunningHashMismatch(bytes32 given, bytes32 expected);
    /// @notice Fewer contributions than the plan asks for.
    error TooFewContributions(uint32 contributions, uint32 min);
    /// @notice More contributions than the round has commitments.
    error TooManyContributions(uint32 contributions, uint32 commitments);
    /// @notice A total weight out of range.
    error BadTotalWeight(uint32 totalWeight, uint32 min, uint32 max);
    /// @notice Total steps out of range.
    error BadTotalSteps(uint64 totalSteps, uint64 min, uint64 max);
    /// @notice A divisor of zero or over MAX_WEIGHT.
    error WrongDivisor(uint32 divisor, uint32 min, uint32 max);
    /// @notice Before the publish deadline a result must contain every commitment of a round whose commits ended early.
    error IncompleteEarlyResult(uint32 contributions, uint32 commitments);
    /// @notice An aggregator moves only to more contributions, or to as many and a smaller result hash.
    error NotBetter(bytes32 current, bytes32 proposed);
    /// @notice The owner may no longer cancel: a result has been attested.
    error AlreadyAttested(RoundId roundId);
    /// @notice Not the result that was attested.
    error ResultMismatch(bytes32 given, bytes32 expected);
    /// @notice The round is finalized already.
    error AlreadyFinalized(RoundId roundId);
    /// @notice The round is cancelled already.
    error AlreadyCancelled(RoundId roundId);
    /// @notice Only `COURT` may do this, or, to move the end of a window, `CHALLENGES`.
    error NotPartner(address caller);
    /// @notice A result that was convicted never comes back.
    error ResultIsConvicted(RoundId roundId, bytes32 resultHash);
    /// @notice No next round before the attesters of void results are expelled.
    error NotExpelled(RoundId roundId, uint32 unexpelled);

    // ------------------------------------------------------------------------------------------------------- Constants

    // Constants keep the names of constants though an interface can only say them as functions.
    // slither-disable-start naming-convention
    /// @notice Largest total weight for which float64 sums of grid values stay exact: 2^28.
    function MAX_WEIGHT() external view returns (uint32);
    /// @notice What each commitment of a list may take, its hooks and its signer's contract included.
    function COMMIT_GAS() external view returns (uint256); // 300 000
    /// @notice What made this contract and its partners.
    function FACTORY() external view returns (IFactory);
    /// @notice What is wrong with a result is shown there; bound at deployment.
    function CHALLENGES() external view returns (IChallenges);
    /// @notice The contract that alone can make a result void, and holds the bonds; bound at deployment.
    function COURT() external view returns (ICourt);
    /// @notice What checks plans and their rule bytes, and runs server programs; bound at deployment.
    function RULES() external view returns (IRules);
    // slither-disable-end naming-convention

    // ---------------------------------------------------------------------------------------------------------- Models

    /// @notice Registers a model; the caller becomes its owner.
    /// @param tensorRoot Of the genesis, with `restRoot`: see `Roots`. Its state is the initial one.
    function registerModel(bytes32 genesisDigest, bytes32 tensorRoot, bytes32 restRoot)
        external
        returns (ModelId modelId);

    /// @notice Offers the model to another account, or withdraws an offer (zero). Owner only.
    function transferOwnership(ModelId modelId, address pendingOwner) external;

    /// @notice Takes an offered model. Pending owner only.
    function acceptOwnership(ModelId modelId) external;

    /// @notice No new round opens until `resumeRounds`; an open one goes on. Owner only.
    function suspendRounds(ModelId modelId) external;

    function resumeRounds(ModelId modelId) external;

    /// @notice Anchors a version that no round made and moves the head to it. Owner only, never beside an open round.
    /// @param parent A known version of the model, deprecated or not.
    /// Its state is the initial one.
    function publishVersion(ModelId modelId, bytes32 parent, bytes32 digest, bytes32 tensorRoot, bytes32 restRoot)
        external;

    /// @notice Marks a version as not to be used. Owner only. The head moves to `replacement` if it was deprecated,
    /// which is refused while a round is open; for any other version `replacement` must be zero.
    function deprecateVersion(ModelId modelId, bytes32 digest, bytes32 reasonDigest, bytes32 replacement) external;

    // --------------------------------------------------------------------------------------------------------- Members

    /// @notice Adds role bits. Owner only. Granting what is held changes nothing.
    function grantRoles(ModelId modelId, address account, uint8 roles) external;

    /// @notice Clears role bits. Owner only. Commitments and attestations already made keep counting.
    function revokeRoles(ModelId modelId, address account, uint8 roles) external;

    function grantRolesBatch(ModelId modelId, Grant[] calldata grants) external;

    function revokeRolesBatch(ModelId modelId, Grant[] calldata grants) external;

    // ----------------------------------------------------------------------------------------------------------- Plans

    /// @notice Sets the standing plan, from the next round on, and appends it to the history. Owner only; `RULES` says what
    /// a plan and its rule bytes may say.
    /// @dev The parameter has the name of a view; nothing here calls that view.
    // slither-disable-next-line shadowing-local
    function setPlan(ModelId modelId, Plan calldata plan, bytes calldata rules) external returns (uint32 planIndex);

    // ---------------------------------------------------------------------------------------------------------- Rounds

    /// @notice Opens the next round on the head, under the standing plan. Owner, participants and aggregators, once the
    /// last round is finalized or cancelled, unless suspended.
    function openRound(ModelId modelId) external returns (uint64 number);

    /// @notice Commits the caller's update. Participants, once a round, in phase Commit.
    /// @dev The running hash is a word of 224 bits of hash and, in the low 32, the number of commitments:
    /// runningHash := first 224 bits of keccak256(abi.encode(runningHash, participant, digest, tensorRoot, weight, steps)),
    /// number + 1; begun at those of keccak256(abi.encode(roundId, parent, keccak256(abi.encode(plan)))) and 0.
    /// @param digest sha2-256 of the update's head, which names its participant, round, model, contract and chain.
    /// @param tensorRoot Tensor root of the update's blob.
    /// @param weight 1..weightCap, usually the number of training examples.
    /// @param steps At least 1, usually the number of optimizer steps.
    function commitUpdate(
        ModelId modelId,
        uint64 number,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps
    ) external;

    /// @param hookData What each hook of the plan is given, in their order; where there is less, nothing.
    function commitUpdate(
        ModelId modelId,
        uint64 number,
        bytes32 digest,
        bytes32 tensorRoot,
        uint32 weight,
        uint32 steps,
        bytes[] calldata hookData
    ) external;

    /// @notice Commits an update that its participant signed (EIP-712; an EOA, or a contract by EIP-1271). Anyone may send.
    /// @dev Type: Commitment(bytes32 modelId,uint64 round,address participant,bytes32 digest,bytes32 tensorRoot,
    /// uint32 weight,uint32 steps,bytes[] hookData,uint64 validUntil), domain name "Cairn", version "1", with chain id and
    /// contract.
    function commitUpdateFor(ModelId modelId, uint64 number, SignedUpdate calldata update) external;

    /// @notice Commits those of a list that can be, in order, as `commitUpdateFor` would; the others are skipped, each
    /// with an event, and spoil nothing. Anyone may send.
    function commitUpdatesFor(ModelId modelId, uint64 number, SignedUpdate[] calldata updates) external;

    /// @notice Ends phase Commit at once. Anyone, who lists every participant of the model, strictly ascending, each
    /// having committed; or, who lists nobody, once the plan's `enoughCommitments` stand and its `leastCommitDuration`
    /// is over. The later deadlines move up by the time saved. Who was revoked is not waited for; what it committed
    /// counts.
    function endCommits(ModelId modelId, uint64 number, address[] calldata participants) external;

    /// @notice Attests a result. Aggregators, in phase Aggregate, or in phase Publish if commits ended early and the
    /// result contains every commitment. Attesting what one attested already is refused; see `NotBetter` for moving.
    /// @param runningHash The commitments that the result was computed from.
    function attestResult(ModelId modelId, uint64 number, Result calldata result, bytes32 runningHash) external;

    /// @notice Gives the window of the attested result one more challenge duration, once. `CHALLENGES` and
    /// `COURT` only.
    function extendWindow(ModelId modelId, uint64 number) external;

    /// @notice Makes the attested result void, in its window. `COURT` only. Aggregation goes on, until one aggregate
    /// duration after now or the publish deadline, whichever is later; attestations of other results keep counting.
    function voidResult(ModelId modelId, uint64 number, Standing verdict) external;

    /// @notice Takes the aggregator role, and the round's bond, from attesters of results that were made void. Anyone,
    /// at any time after. Accounts that have nothing to answer for are passed over.
    /// @return expelled How many lost something.
    function expel(ModelId modelId, uint64 number, address[] calldata aggregators) external returns (uint32 expelled);

    /// @notice Moves the head to the attested result. Anyone, in phase Final, once.
    function finalizeRound(ModelId modelId, uint64 number, Result calldata result) external;

    /// @notice Cancels a round: the owner, before anything is attested and before it ends; anyone, to record that it
    /// has lapsed.
    function cancelRound(ModelId modelId, uint64 number) external;

    // ----------------------------------------------------------------------------------------------------------- Views
    // Unknown models, versions, members and rounds read as zeros.

    function modelIdOf(address owner, bytes32 genesisDigest) external view returns (ModelId);
    function roundIdOf(ModelId modelId, uint64 number) external pure returns (RoundId);
    function model(ModelId modelId) external view returns (Model memory);
    function member(ModelId modelId, address account) external view returns (Member memory);
    function version(ModelId modelId, bytes32 digest) external view returns (Version memory);
    /// @notice An entry of the plan history, from 0; `UnknownPlan` past the end.
    function plan(ModelId modelId, uint32 planIndex) external view returns (Plan memory);
    function round(ModelId modelId, uint64 number) external view returns (Round memory);
    /// @notice The phase at this block's time.
    function phase(ModelId modelId, uint64 number) external view returns (Phase);
    /// @notice What attestations of a result count under in this round: its hash, or, after it was void for want of an
    /// answer, a hash of it and of how often.
    function tallyOf(ModelId modelId, uint64 number, bytes32 resultHash) external view returns (bytes32);
    /// @notice How the result of a tally stands.
    function standing(ModelId modelId, uint64 number, bytes32 tally) external view returns (Standing);
    /// @notice The result in its window, with the rules and roots it is held against; `tally` zero where there is none.
    function dispute(ModelId modelId, uint64 number) external view returns (Dispute memory);
    /// @notice The tally that `aggregator` attests; zero for none.
    function attestation(ModelId modelId, uint64 number, address aggregator) external view returns (bytes32);
    /// @notice Equal attestations of a result, and its contributions.
    function votes(ModelId modelId, uint64 number, bytes32 resultHash)
        external
        view
        returns (uint32 count, uint32 contributions);
    /// @notice The EIP-712 digest a participant signs for `commitUpdateFor`.
    /// @param update Its signature is ignored.
    function commitmentHash(ModelId modelId, uint64 number, SignedUpdate calldata update)
        external
        view
        returns (bytes32);
}
