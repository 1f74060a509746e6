// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, RoundId} from "./ICairn.sol";

/// @notice How a model's results are scored: what its owner asks of validators.
struct ScoreTerms {
    /// With fewer revealed scores a result has none. 1..MAX_VALIDATORS; 0 where the owner has set nothing.
    uint16 minimum;
    /// Seconds in which scores are committed, from the first commitment on.
    uint32 commitDuration;
    /// Seconds after that in which they are revealed.
    uint32 revealDuration;
}

/// @notice The scores of one result, as `scoring` shows them.
struct Scoring {
    /// Both zero before the first commitment. As with rounds, a deadline is the first second after its window.
    uint40 commitDeadline;
    uint40 revealDeadline;
    /// As the owner's terms said when the first score was committed.
    uint16 minimum;
    uint16 commitments;
    uint16 reveals;
    /// Whether `median` counts: the reveals are over, and they are enough.
    bool counted;
    /// Of the revealed scores; of an even number the mean of the middle two, rounded down. Zero unless `counted`.
    uint32 median;
}

/// @title Scores: validators score the results of rounds, each by a hidden set of its own
/// @notice A validator is an account with the role VALIDATOR. It commits to its score of a result in the window that the
/// first commitment opens, and reveals it in the window after, so that nobody can copy or follow another's score. The
/// result's score is the median of what was revealed, once the reveals are over, if they are as many as the owner asks.
///
/// A result can be scored as soon as it has its quorum, and at any time after that. A result that was made void and
/// attested anew is the same version, and keeps its scores.
///
/// A commitment binds chain, this contract, round, result, validator, score and the root of a Merkle tree over the
/// validator's predictions, each leaf salted. The root hides the score until it is revealed; afterwards a validator can
/// open single predictions to whom it chooses, and nobody learns the others. No case of a hidden set is ever shown here.
///
/// For readers and owners. No other contract calls it, it calls nothing but views of `CAIRN`, and it takes no money: no
/// round, result, bond or head hangs on it. Nobody can stall it: windows end by themselves, and whoever commits and does
/// not reveal only leaves its own score out.
///
/// Sharp edges. That a score was measured, and on what, is its validator's word. Whoever reveals last knows the others'
/// scores and may stay silent, which moves the median by one place at most, or leaves too few reveals. The role is asked
/// at the commitment: revoking it later takes no score back. Owners set terms at any time; a scoring that has begun keeps
/// its own.
interface IScores {
    // ---------------------------------------------------------------------------------------------------------- Events

    /// @notice The owner says how results of a model are scored from now on.
    event ScoreTermsSet(ModelId indexed modelId, address indexed owner, ScoreTerms terms);
    /// @notice A validator committed to its score of a result.
    /// @param commitDeadline Of this result's scoring, as is revealDeadline.
    event ScoreCommitted(
        RoundId indexed roundId,
        address indexed validator,
        bytes32 indexed resultHash,
        bytes32 commitment,
        uint40 commitDeadline,
        uint40 revealDeadline
    );
    /// @notice A validator revealed its score of a result.
    /// @param score In millionths.
    event ScoreRevealed(
        RoundId indexed roundId,
        address indexed validator,
        bytes32 indexed resultHash,
        uint32 score,
        bytes32 predictionsRoot
    );

    // ---------------------------------------------------------------------------------------------------------- Errors

    /// @notice A term is out of bounds.
    error BadScoreTerm(string term, uint256 given, uint256 min, uint256 max);
    /// @notice The owner has not said how results are scored.
    error NoScoreTerms(ModelId modelId);
    /// @notice No result has a quorum in that round.
    error NoResult(RoundId roundId);
    /// @notice The window for commitments to this result's scores is over.
    error ScoringIsOver(uint40 deadline);
    /// @notice Not in the window for reveals.
    error NoTimeToReveal(uint40 commitDeadline, uint40 revealDeadline);
    /// @notice This validator committed to a score of this result before.
    error AlreadyScored(RoundId roundId, address validator);
    /// @notice A result has no more than MAX_VALIDATORS scores.
    error TooManyScores(RoundId roundId);
    /// @notice The validator committed to nothing that is still to be revealed, or to something else.
    error OtherScore(RoundId roundId, address validator);
    /// @notice More than SCORE_ONE.
    error BadScore(uint32 score, uint32 max);

    // ------------------------------------------------------------------------------------------------------- Functions

    /// @notice Says how results of a model are scored. Owner only.
    function setScoreTerms(ModelId modelId, ScoreTerms calldata terms) external;

    /// @notice Commits to a score of a round's result. Validators, each once for a result.
    /// @param resultHash The one that has a quorum now.
    /// @param commitment As `scoreCommitment` gives it. Never zero.
    function commitScore(ModelId modelId, uint64 number, bytes32 resultHash, bytes32 commitment) external;

    /// @notice Reveals a committed score, in the window after that for commitments.
    function revealScore(ModelId modelId, uint64 number, bytes32 resultHash, uint32 score, bytes32 predictionsRoot)
        external;

    // ----------------------------------------------------------------------------------------------------------- Views

    /// @notice The terms that new scorings of a model begin with.
    function scoreTerms(ModelId modelId) external view returns (ScoreTerms memory);

    /// @notice The scoring of a result; zeros for one that nobody scored.
    function scoring(ModelId modelId, uint64 number, bytes32 resultHash) external view returns (Scoring memory);

    /// @notice The scores of a result that were revealed so far, in millionths, ascending.
    function revealedScores(ModelId modelId, uint64 number, bytes32 resultHash) external view returns (uint32[] memory);

    /// @notice What a validator committed to and has not revealed; zero for nothing.
    function committedScore(ModelId modelId, uint64 number, bytes32 resultHash, address validator)
        external
        view
        returns (bytes32 commitment);

    /// @notice keccak256(abi.encode(chain id, this contract, round id, result hash, validator, score, predictions root)).
    function scoreCommitment(
        ModelId modelId,
        uint64 number,
        bytes32 resultHash,
        address validator,
        uint32 score,
        bytes32 predictionsRoot
    ) external view returns (bytes32);

    /// @notice The Cairn whose results these are.
    // slither-disable-next-line naming-convention
    function CAIRN() external view returns (ICairn);

    /// @notice The highest score: a million millionths.
    // slither-disable-next-line naming-convention
    function SCORE_ONE() external view returns (uint32);

    /// @notice Most scores of a result, so that the sum of all gas stays bounded.
    // slither-disable-next-line naming-convention
    function MAX_VALIDATORS() external view returns (uint16);
}
