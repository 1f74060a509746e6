// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, RoundId, VALIDATOR} from "./interfaces/ICairn.sol";
import {IFactory, ContractIndex} from "./interfaces/IFactory.sol";
import {IScores, ScoreTerms, Scoring} from "./interfaces/IScores.sol";

/// @title Scores
/// @notice Belongs to one Cairn, immutable. What it does is said in `interfaces/IScores.sol`.
contract Scores is IScores {
    struct State {
        uint40 commitDeadline;
        uint40 revealDeadline;
        uint16 minimum;
        uint16 commitments;
        /// Ascending.
        uint32[] scores;
        /// What is committed and not revealed.
        mapping(address validator => bytes32 commitment) committed;
    }

    uint32 private constant MIN_DURATION = 30 seconds;
    uint32 private constant MAX_DURATION = 90 days;

    /// @inheritdoc IScores
    uint32 public constant SCORE_ONE = 1_000_000;
    /// @inheritdoc IScores
    uint16 public constant MAX_VALIDATORS = 64;
    /// @inheritdoc IScores
    // slither-disable-next-line naming-convention
    ICairn public immutable CAIRN;

    mapping(ModelId modelId => ScoreTerms terms) private _terms;
    mapping(RoundId roundId => mapping(bytes32 resultHash => State state)) private _scorings;

    /// @dev Made by a factory, which says who the partners are.
    constructor() {
        CAIRN = ICairn(IFactory(msg.sender).addressOf(uint256(ContractIndex.Cairn)));
    }

    /// @inheritdoc IScores
    function setScoreTerms(ModelId modelId, ScoreTerms calldata terms) external {
        address owner = CAIRN.model(modelId).owner;
        if (owner == address(0)) revert ICairn.UnknownModel(modelId);
        if (owner != msg.sender) revert ICairn.NotOwner(modelId, msg.sender);
        _within("minimum", terms.minimum, 1, MAX_VALIDATORS);
        _within("commitDuration", terms.commitDuration, MIN_DURATION, MAX_DURATION);
        _within("revealDuration", terms.revealDuration, MIN_DURATION, MAX_DURATION);
        _terms[modelId] = terms;
        emit ScoreTermsSet(modelId, msg.sender, terms);
    }

    /// @inheritdoc IScores
    function commitScore(ModelId modelId, uint64 number, bytes32 resultHash, bytes32 commitment) external {
        if (CAIRN.member(modelId, msg.sender).roles & VALIDATOR == 0) {
            revert ICairn.MissingRole(modelId, msg.sender, VALIDATOR);
        }
        RoundId roundId = _roundId(modelId, number);
        bytes32 expected = CAIRN.round(modelId, number).resultHash;
        if (expected == 0) revert NoResult(roundId);
        if (resultHash != expected) revert ICairn.ResultMismatch(resultHash, expected);
        if (commitment == 0) revert ICairn.ZeroDigest();
        State storage state = _scorings[roundId][resultHash];
        if (state.commitments == 0) _begin(modelId, state);
        // slither-disable-next-line timestamp
        if (block.timestamp >= state.commitDeadline) revert ScoringIsOver(state.commitDeadline);
        if (state.committed[msg.sender] != 0) revert AlreadyScored(roundId, msg.sender);
        if (state.commitments == MAX_VALIDATORS) revert TooManyScores(roundId);
        state.commitments += 1;
        state.committed[msg.sender] = commitment;
        emit ScoreCommitted(
            roundId, msg.sender, resultHash, commitment, state.commitDeadline, state.revealDeadline
        );
    }

    /// @inheritdoc IScores
    function revealScore(ModelId modelId, uint64 number, bytes32 resultHash, uint32 score, bytes32 predictionsRoot)
        external
    {
        RoundId roundId = _roundId(modelId, number);
        State storage state = _scorings[roundId][resultHash];
        // slither-disable-next-line timestamp
        if (block.timestamp < state.commitDeadline || block.timestamp >= state.revealDeadline) {
            revert NoTimeToReveal(state.commitDeadline, state.revealDeadline);
        }
        if (score > SCORE_ONE) revert BadScore(score, SCORE_ONE);
        bytes32 commitment = scoreCommitment(modelId, number, resultHash, msg.sender, score, predictionsRoot);
        if (state.committed[msg.sender] != commitment) revert OtherScore(roundId, msg.sender);
        delete state.committed[msg.sender];
        _insert(state.scores, score);
        emit ScoreRevealed(roundId, msg.sender, resultHash, score, predictionsRoot);
    }

    /// @inheritdoc IScores
    function scoreTerms(ModelId modelId) external view returns (ScoreTerms memory) {
        return _terms[modelId];
    }

    /// @inheritdoc IScores
    function scoring(ModelId modelId, uint64 number, bytes32 resultHash) external view returns (Scoring memory found) {
        State storage state = _scorings[_roundId(modelId, number)][resultHash];
        uint256 reveals = state.scores.length;
        found.commitDeadline = state.commitDeadline;
        found.revealDeadline = state.revealDeadline;
        found.minimum = state.minimum;
        found.commitments = state.commitments;
        found.reveals = uint16(reveals); // at most MAX_VALIDATORS
        // slither-disable-next-line timestamp
        found.counted = reveals != 0 && reveals >= state.minimum && block.timestamp >= state.revealDeadline;
        if (found.counted) found.median = (state.scores[(reveals - 1) / 2] + state.scores[reveals / 2]) / 2;
    }

    /// @inheritdoc IScores
    function revealedScores(ModelId modelId, uint64 number, bytes32 resultHash)
        external
        view
        returns (uint32[] memory)
    {
        return _scorings[_roundId(modelId, number)][resultHash].scores;
    }

    /// @inheritdoc IScores
    function committedScore(ModelId modelId, uint64 number, bytes32 resultHash, address validator)
        external
        view
        returns (bytes32 commitment)
    {
        return _scorings[_roundId(modelId, number)][resultHash].committed[validator];
    }

    /// @inheritdoc IScores
    function scoreCommitment(
        ModelId modelId,
        uint64 number,
        bytes32 resultHash,
        address validator,
        uint32 score,
        bytes32 predictionsRoot
    ) public view returns (bytes32) {
        RoundId roundId = _roundId(modelId, number);
        return keccak256(
            abi.encode(block.chainid, address(this), roundId, resultHash, validator, score, predictionsRoot)
        );
    }

    function _begin(ModelId modelId, State storage state) private {
        ScoreTerms memory terms = _terms[modelId];
        if (terms.minimum == 0) revert NoScoreTerms(modelId);
        state.commitDeadline = uint40(block.timestamp) + terms.commitDuration;
        state.revealDeadline = state.commitDeadline + terms.revealDuration;
        state.minimum = terms.minimum;
    }

    /// @dev Keeps the scores ascending, so that the median is read off.
    function _insert(uint32[] storage scores, uint32 score) private {
        scores.push(score);
        for (uint256 i = scores.length - 1; i > 0 && scores[i - 1] > score; --i) {
            scores[i] = scores[i - 1];
            scores[i - 1] = score;
        }
    }

    function _within(string memory term, uint256 given, uint256 min, uint256 max) private pure {
        if (given < min || given > max) revert BadScoreTerm(term, given, min, max);
    }

    /// @dev As Cairn has it.
    function _roundId(ModelId modelId, uint64 number) private pure returns (RoundId) {
        return RoundId.wrap(keccak256(abi.encode(modelId, number)));
    }
}
