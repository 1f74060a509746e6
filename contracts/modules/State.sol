// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {ICairn, Member, ModelId, Phase, Plan, RoundId, Roots, Standing} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {ICourt} from "../interfaces/ICourt.sol";
import {IFactory} from "../interfaces/IFactory.sol";
import {IRules} from "../interfaces/IRules.sol";
import {RunningHash} from "./RunningHash.sol";

/// @title Everything Cairn stores, and the reads that several modules share
/// @dev Slots are packed by who reads them together: a commit touches one word of the round, its running hash and one
/// word of the member, whatever has happened before.
abstract contract State is ICairn {
    struct ModelState {
        // One word.
        address owner;
        uint32 participants;
        uint64 rounds;
        // One word.
        address pendingOwner;
        uint24 plans;
        bool suspended;
        bytes32 head;
    }

    struct VersionState {
        /// Zero where nothing is known; a genesis is its own parent, which nothing else can be.
        bytes32 parent;
        /// keccak256(abi.encode(Roots)): whoever needs one of them shows all.
        bytes32 roots;
        // One word, left unwritten by rounds.
        bool outsideRound;
        bool deprecated;
    }

    /// @dev One word: what every transaction of a round reads.
    struct Terms {
        uint40 commitDeadline;
        uint40 publishDeadline;
        uint40 aggregateDeadline;
        uint40 challengeDeadline;
        uint32 weightCap;
        /// Of the result that a quorum attested.
        uint32 contributions;
        uint24 planIndex;
        uint8 flags;
    }

    /// @dev What stands behind a result before it has its quorum; then the round says it.
    struct Votes {
        uint32 count;
        uint32 contributions;
        Standing standing;
    }

    struct RoundState {
        Terms terms;
        bytes32 runningHash;
        bytes32 resultHash;
        uint32 unexpelled;
        mapping(address aggregator => bytes32 tally) attestations;
        mapping(bytes32 tally => Votes) votes;
        /// How often a result went unanswered.
        mapping(bytes32 resultHash => uint256) unanswered;
    }

    // Bits of Terms.flags.
    uint8 internal constant CANCELLED = 1;
    uint8 internal constant FINALIZED = 2;
    uint8 internal constant ATTESTED = 4;
    uint8 internal constant HOOKED = 8;
    uint8 internal constant ENDED_EARLY = 16;
    uint8 internal constant EXTENDED = 32;
    uint8 internal constant VOIDED = 64;
    uint8 internal constant BONDED = 128;

    /// @dev Of one commitment, and of a result: that of 2^17 contributions, whatever they declare.
    uint32 internal constant MAX_STEPS = 1 << 20;
    uint64 internal constant MAX_TOTAL_STEPS = 1 << 37;

    /// @inheritdoc ICairn
    uint32 public constant MAX_WEIGHT = 1 << 28;
    /// @inheritdoc ICairn
    uint256 public constant COMMIT_GAS = 300_000;
    /// @inheritdoc ICairn
    // slither-disable-next-line naming-convention
    IFactory public immutable FACTORY;
    /// @inheritdoc ICairn
    // slither-disable-next-line naming-convention
    IChallenges public immutable CHALLENGES;
    /// @inheritdoc ICairn
    // slither-disable-next-line naming-convention
    ICourt public immutable COURT;
    /// @inheritdoc ICairn
    // slither-disable-next-line naming-convention
    IRules public immutable RULES;

    mapping(ModelId => ModelState) internal _models;
    mapping(ModelId => mapping(bytes32 digest => VersionState)) internal _versions;
    mapping(ModelId => mapping(address account => Member)) internal _members;
    mapping(ModelId => mapping(uint32 planIndex => Plan)) internal _plans;
    mapping(RoundId => RoundState) internal _rounds;

    /// @dev The model, if the caller owns it.
    function _owned(ModelId modelId) internal view returns (ModelState storage state) {
        state = _models[modelId];
        address owner = state.owner;
        if (owner == address(0)) revert UnknownModel(modelId);
        if (owner != msg.sender) revert NotOwner(modelId, msg.sender);
    }

    /// @dev A round that was opened. Commits do without: they would pay for a struct of zeros, which a function that
    /// returns one fills first.
    function _opened(ModelId modelId, uint64 number)
        internal
        view
        returns (RoundId roundId, RoundState storage state, Terms memory terms)
    {
        roundId = _roundId(modelId, number);
        state = _rounds[roundId];
        terms = state.terms;
        _requireOpened(modelId, number, terms);
    }

    function _requireOpened(ModelId modelId, uint64 number, Terms memory terms) internal pure {
        if (terms.commitDeadline == 0) revert UnknownRound(modelId, number);
    }

    /// @dev Reverts while round `number`, the last one opened, can still move the head.
    function _requireEnded(ModelId modelId, uint64 number) internal view {
        if (number == 0) return;
        RoundId roundId = _roundId(modelId, number);
        Terms memory terms = _rounds[roundId].terms;
        Phase actual = _phase(terms);
        if (actual != Phase.Cancelled && terms.flags & FINALIZED == 0) revert RoundNotEnded(roundId, actual);
    }

    /// @dev One function, since the code that reads a plan is long.
    function _rules(ModelId modelId, uint32 planIndex) internal view returns (Plan memory) {
        return _plans[modelId][planIndex];
    }

    function _requireRole(ModelId modelId, Member memory held, address account, uint8 role) internal pure {
        if (held.roles & role == 0) _refuseRole(modelId, account, role);
    }

    /// @dev One function, since each such revert is long.
    function _refuseRole(ModelId modelId, address account, uint8 role) internal pure {
        revert MissingRole(modelId, account, role);
    }

    function _requireNotFinalized(RoundId roundId, Terms memory terms) internal pure {
        if (terms.flags & FINALIZED != 0) revert AlreadyFinalized(roundId);
    }

    function _requirePhase(RoundId roundId, Phase expected, Phase actual) internal pure {
        if (actual != expected) revert WrongPhase(roundId, expected, actual);
    }

    // Phases are what time says: deadlines are minutes to months apart, a proposer moves a block by seconds.
    // slither-disable-next-line timestamp
    function _phase(Terms memory terms) internal view returns (Phase) {
        if (terms.commitDeadline == 0) return Phase.None;
        if (terms.flags & (CANCELLED | FINALIZED) != 0) {
            return terms.flags & CANCELLED != 0 ? Phase.Cancelled : Phase.Final;
        }
        if (terms.challengeDeadline != 0) {
            return block.timestamp < terms.challengeDeadline ? Phase.Challenge : Phase.Final;
        }
        if (block.timestamp < terms.commitDeadline) return Phase.Commit;
        if (block.timestamp < terms.publishDeadline) return Phase.Publish;
        if (block.timestamp < terms.aggregateDeadline) return Phase.Aggregate;
        return Phase.Cancelled;
    }

    /// @dev Read only where a result of the round has been void: else a tally is the result's hash.
    function _tally(RoundState storage state, uint8 flags, bytes32 resultHash) internal view returns (bytes32) {
        if (flags & VOIDED == 0) return resultHash;
        uint256 unanswered = state.unanswered[resultHash];
        return unanswered == 0 ? resultHash : Hashes.efficientKeccak256(resultHash, bytes32(unanswered));
    }

    /// @dev A version that no round made: its state is the initial one.
    function _published(bytes32 parent, bytes32 tensorRoot, bytes32 restRoot)
        internal
        pure
        returns (VersionState memory)
    {
        bytes32 roots = _rootsOf(Roots({tensor: tensorRoot, rest: restRoot, state: 0, stateLayout: 0, step: 0}));
        return VersionState({parent: parent, roots: roots, outsideRound: true, deprecated: false});
    }

    function _rootsOf(Roots memory roots) internal pure returns (bytes32) {
        if (roots.tensor == 0 || roots.rest == 0) revert ZeroRoot();
        return keccak256(abi.encode(roots));
    }

    /// @dev The running hash of a round without commitments.
    function _firstHash(RoundId roundId, bytes32 parent, Plan memory rules) internal pure returns (bytes32) {
        return RunningHash.begin(keccak256(abi.encode(roundId, parent, keccak256(abi.encode(rules)))));
    }

    function _roundId(ModelId modelId, uint64 number) internal pure returns (RoundId) {
        return RoundId.wrap(Hashes.efficientKeccak256(ModelId.unwrap(modelId), bytes32(uint256(number))));
    }
}
