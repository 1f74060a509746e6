// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Scores} from "../../Scores.sol";
import {ICairn, ModelId, Phase, Result, VALIDATOR} from "../../interfaces/ICairn.sol";
import {ContractIndex} from "../../interfaces/IFactory.sol";
import {IScores, ScoreTerms, Scoring} from "../../interfaces/IScores.sol";
import {Base} from "../support/Base.sol";

contract ScoresTest is Base {
    uint32 internal constant TO_COMMIT = 500;
    uint32 internal constant TO_REVEAL = 700;
    bytes32 internal constant PREDICTIONS = "salted root";

    Scores internal scores;
    uint64 internal number;
    bytes32 internal result;

    function setUp() public override {
        super.setUp();
        scores = Scores(cairn.FACTORY().addressOf(uint256(ContractIndex.Scores)));
        for (uint256 i = 0; i < 4; ++i) {
            grant(validator(i));
        }
        setTerms(3);
        number = openTo(Phase.Challenge);
        result = cairn.round(modelId, number).resultHash;
    }

    function validator(uint256 i) internal pure returns (address) {
        return address(uint160(0xE000 + i));
    }

    function grant(address account) internal {
        vm.prank(OWNER);
        cairn.grantRoles(modelId, account, VALIDATOR);
    }

    function termsOf(uint16 minimum) internal pure returns (ScoreTerms memory) {
        return ScoreTerms({minimum: minimum, commitDuration: TO_COMMIT, revealDuration: TO_REVEAL});
    }

    function setTerms(uint16 minimum) internal {
        vm.prank(OWNER);
        scores.setScoreTerms(modelId, termsOf(minimum));
    }

    function commitmentOf(uint256 i, uint32 score) internal view returns (bytes32) {
        return scores.scoreCommitment(modelId, number, result, validator(i), score, PREDICTIONS);
    }

    function commitScore(uint256 i, uint32 score) internal {
        bytes32 commitment = commitmentOf(i, score);
        vm.prank(validator(i));
        scores.commitScore(modelId, number, result, commitment);
    }

    function revealScore(uint256 i, uint32 score) internal {
        vm.prank(validator(i));
        scores.revealScore(modelId, number, result, score, PREDICTIONS);
    }

    function found() internal view returns (Scoring memory) {
        return scores.scoring(modelId, number, result);
    }

    function refusedCommit(address account, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(account);
        scores.commitScore(modelId, number, result, "commitment");
    }

    function missing(address account) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.MissingRole.selector, modelId, account, VALIDATOR);
    }

    function refusedReveal(uint256 i, uint32 score, bytes32 root) internal {
        vm.expectRevert(abi.encodeWithSelector(IScores.OtherScore.selector, roundId(number), validator(i)));
        vm.prank(validator(i));
        scores.revealScore(modelId, number, result, score, root);
    }

    // ----------------------------------------------------------------------------------------------------------- Terms

    function test_constants_are_the_specified_ones() public view {
        same(scores.SCORE_ONE(), 1_000_000, "SCORE_ONE");
        same(scores.MAX_VALIDATORS(), 64, "MAX_VALIDATORS");
        same(address(scores.CAIRN()), address(cairn), "CAIRN");
    }

    function test_nobody_but_the_owner_sets_terms() public {
        address[4] memory callers = [STRANGER, validator(0), participants[0], address(cairn)];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.expectRevert(notOwner(callers[i]));
            vm.prank(callers[i]);
            scores.setScoreTerms(modelId, termsOf(1));
        }
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownModel.selector, bytes32("nobody")));
        vm.prank(OWNER);
        scores.setScoreTerms(ModelId.wrap("nobody"), termsOf(1));
        vm.prank(OWNER);
        cairn.transferOwnership(modelId, STRANGER);
        vm.prank(STRANGER);
        cairn.acceptOwnership(modelId);
        vm.expectRevert(notOwner(OWNER));
        vm.prank(OWNER);
        scores.setScoreTerms(modelId, termsOf(1));
    }

    function test_terms_out_of_bounds_are_refused() public {
        ScoreTerms[6] memory bad = [termsOf(0), termsOf(65), termsOf(1), termsOf(1), termsOf(1), termsOf(1)];
        (bad[2].commitDuration, bad[3].commitDuration) = (29, 90 days + 1);
        (bad[4].revealDuration, bad[5].revealDuration) = (29, 90 days + 1);
        string[3] memory names = ["minimum", "commitDuration", "revealDuration"];
        for (uint256 i = 0; i < bad.length; ++i) {
            uint256 given = i < 2 ? bad[i].minimum : i < 4 ? bad[i].commitDuration : bad[i].revealDuration;
            (uint256 min, uint256 max) = i < 2 ? (uint256(1), uint256(64)) : (uint256(30), uint256(90 days));
            vm.expectRevert(abi.encodeWithSelector(IScores.BadScoreTerm.selector, names[i / 2], given, min, max));
            vm.prank(OWNER);
            scores.setScoreTerms(modelId, bad[i]);
        }
        ScoreTerms memory edge = ScoreTerms({minimum: 64, commitDuration: 30, revealDuration: 90 days});
        expectEvent(address(scores));
        emit IScores.ScoreTermsSet(modelId, OWNER, edge);
        vm.prank(OWNER);
        scores.setScoreTerms(modelId, edge);
        same(keccak256(abi.encode(scores.scoreTerms(modelId))), keccak256(abi.encode(edge)), "set");
    }

    // --------------------------------------------------------------------------------------------------------- Commits

    function test_nobody_but_a_validator_commits() public {
        address[5] memory callers = [OWNER, STRANGER, participants[0], aggregators[0], address(cairn)];
        for (uint256 i = 0; i < callers.length; ++i) {
            refusedCommit(callers[i], missing(callers[i]));
        }
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, validator(0), VALIDATOR);
        refusedCommit(validator(0), missing(validator(0)));
        vm.prank(STRANGER);
        ModelId other = cairn.registerModel(GENESIS, GENESIS_ROOT, REST);
        vm.expectRevert(abi.encodeWithSelector(ICairn.MissingRole.selector, other, validator(1), VALIDATOR));
        vm.prank(validator(1));
        scores.commitScore(other, number, result, "commitment");
    }

    function test_a_round_that_is_not_there_has_no_scores() public {
        vm.expectRevert(abi.encodeWithSelector(IScores.NoResult.selector, roundId(number + 1)));
        vm.prank(validator(0));
        scores.commitScore(modelId, number + 1, result, "commitment");
    }

    function test_without_a_quorum_there_is_nothing_to_score() public {
        cairn.finalizeRound(modelId, toFinal(), someResult("version"));
        for (uint256 phase = uint256(Phase.Commit); phase < uint256(Phase.Challenge); ++phase) {
            number = openTo(Phase(phase));
            refusedCommit(validator(0), abi.encodeWithSelector(IScores.NoResult.selector, roundId(number)));
            vm.prank(OWNER);
            cairn.cancelRound(modelId, number);
            refusedCommit(validator(0), abi.encodeWithSelector(IScores.NoResult.selector, roundId(number)));
        }
    }

    function toFinal() internal returns (uint64) {
        vm.warp(cairn.round(modelId, number).challengeDeadline);
        return number;
    }

    function test_no_other_result_is_scored(bytes32 other) public {
        vm.assume(other != result);
        vm.expectRevert(abi.encodeWithSelector(ICairn.ResultMismatch.selector, other, result));
        vm.prank(validator(0));
        scores.commitScore(modelId, number, other, "commitment");
    }

    function test_a_commitment_is_not_zero() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.ZeroDigest.selector));
        vm.prank(validator(0));
        scores.commitScore(modelId, number, result, 0);
    }

    function test_without_terms_nothing_is_scored() public {
        vm.startPrank(STRANGER);
        ModelId other = cairn.registerModel(GENESIS, GENESIS_ROOT, REST);
        vm.stopPrank();
        same(scores.scoreTerms(other).minimum, 0, "none set");
        Scores anew = Scores(address(scores));
        ModelId mine = modelId;
        modelId = other; // a model whose round has a result and no terms
        vm.startPrank(STRANGER);
        cairn.setPlan(other, somePlan(), someRules());
        for (uint256 i = 0; i < 3; ++i) {
            cairn.grantRoles(other, participants[i], P);
            cairn.grantRoles(other, aggregators[i], A);
        }
        cairn.grantRoles(other, validator(0), VALIDATOR);
        uint64 first = cairn.openRound(other);
        vm.stopPrank();
        commitAll(first);
        forward(COMMIT + PUBLISH);
        agree(first, someResult("version"));
        bytes32 its = cairn.round(other, first).resultHash;
        vm.expectRevert(abi.encodeWithSelector(IScores.NoScoreTerms.selector, other));
        vm.prank(validator(0));
        anew.commitScore(other, first, its, "commitment");
        modelId = mine;
    }

    function test_the_first_commitment_opens_the_windows() public {
        same(found().commitDeadline, 0, "not begun");
        uint40 deadline = uint40(block.timestamp) + TO_COMMIT;
        bytes32 commitment = commitmentOf(0, 7);
        expectEvent(address(scores));
        emit IScores.ScoreCommitted(
            roundId(number), validator(0), result, commitment, deadline, deadline + TO_REVEAL
        );
        commitScore(0, 7);
        same(scores.committedScore(modelId, number, result, validator(0)), commitment, "kept");
        setTerms(1); // counts for later scorings
        forward(TO_COMMIT - 1);
        commitScore(1, 8);
        same(found().minimum, 3, "as it began");
        same(found().commitDeadline, deadline, "as it began");
        same(found().commitments, 2, "two");
        forward(1);
        refusedCommit(validator(2), abi.encodeWithSelector(IScores.ScoringIsOver.selector, deadline));
    }

    function test_each_validator_scores_once() public {
        commitScore(0, 7);
        refusedCommit(
            validator(0), abi.encodeWithSelector(IScores.AlreadyScored.selector, roundId(number), validator(0))
        );
        refusedCommit(
            validator(0), abi.encodeWithSelector(IScores.AlreadyScored.selector, roundId(number), validator(0))
        );
        same(found().commitments, 1, "one");
    }

    function test_a_result_is_scored_once_it_is_final_and_finalized_too() public {
        uint64 done = toFinal();
        commitScore(0, 7);
        cairn.finalizeRound(modelId, done, someResult("version"));
        commitScore(1, 7);
        vm.prank(OWNER);
        cairn.openRound(modelId);
        commitScore(2, 9);
        same(found().commitments, 3, "counted");
    }

    function test_a_result_has_at_most_64_scores() public {
        for (uint256 i = 0; i < 65; ++i) {
            grant(validator(i));
        }
        for (uint32 i = 0; i < 64; ++i) {
            commitScore(i, i);
        }
        refusedCommit(validator(64), abi.encodeWithSelector(IScores.TooManyScores.selector, roundId(number)));
        forward(TO_COMMIT);
        for (uint32 i = 64; i > 0; --i) {
            revealScore(i - 1, i - 1); // the dearest order
        }
        forward(TO_REVEAL);
        same(found().median, 31, "of 0 to 63");
    }

    // --------------------------------------------------------------------------------------------------------- Reveals

    function test_scores_are_revealed_in_their_window() public {
        vm.expectRevert(abi.encodeWithSelector(IScores.NoTimeToReveal.selector, 0, 0));
        revealScore(0, 7);
        commitScore(0, 7);
        commitScore(1, 8);
        uint40 from = found().commitDeadline;
        bytes memory reason = abi.encodeWithSelector(IScores.NoTimeToReveal.selector, from, from + TO_REVEAL);
        forward(TO_COMMIT - 1);
        vm.expectRevert(reason);
        revealScore(0, 7);
        forward(1);
        revealScore(0, 7);
        forward(TO_REVEAL);
        vm.expectRevert(reason);
        revealScore(1, 8);
    }

    function test_only_what_was_committed_is_revealed(uint32 other, bytes32 root) public {
        other = uint32(within(other, 0, 1_000_000));
        vm.assume(other != 7 && root != PREDICTIONS);
        commitScore(0, 7);
        commitScore(1, 8);
        forward(TO_COMMIT);
        refusedReveal(0, other, PREDICTIONS);
        refusedReveal(0, 7, root);
        refusedReveal(0, 8, PREDICTIONS); // another validator's
        refusedReveal(2, 7, PREDICTIONS); // who committed to nothing
        revealScore(0, 7);
        refusedReveal(0, 7, PREDICTIONS); // again
        same(found().reveals, 1, "one");
    }

    function test_a_commitment_names_chain_contract_round_result_and_validator() public {
        bytes32 mine = commitmentOf(0, 7);
        RoundIds memory other = RoundIds(roundIdOf(number), roundIdOf(number + 1));
        bytes32 expected = keccak256(
            abi.encode(block.chainid, address(scores), other.mine, result, validator(0), uint32(7), PREDICTIONS)
        );
        same(mine, expected, "as specified");
        check(mine != scores.scoreCommitment(modelId, number + 1, result, validator(0), 7, PREDICTIONS), "round");
        check(mine != scores.scoreCommitment(modelId, number, "other", validator(0), 7, PREDICTIONS), "result");
        check(mine != commitmentOf(1, 7), "validator");
        vm.chainId(block.chainid + 1);
        check(mine != commitmentOf(0, 7), "chain");
    }

    struct RoundIds {
        bytes32 mine;
        bytes32 next;
    }

    function roundIdOf(uint64 which) internal view returns (bytes32) {
        return keccak256(abi.encode(modelId, which));
    }

    function test_a_copied_commitment_is_worth_nothing() public {
        commitScore(0, 7);
        bytes32 copied = commitmentOf(0, 7);
        vm.prank(validator(1));
        scores.commitScore(modelId, number, result, copied);
        forward(TO_COMMIT);
        refusedReveal(1, 7, PREDICTIONS);
    }

    function test_no_score_is_over_one(uint32 score) public {
        score = uint32(within(score, 1_000_001, type(uint32).max));
        commitScore(0, score);
        commitScore(1, 1_000_000);
        forward(TO_COMMIT);
        vm.expectRevert(abi.encodeWithSelector(IScores.BadScore.selector, score, 1_000_000));
        revealScore(0, score);
        expectEvent(address(scores));
        emit IScores.ScoreRevealed(roundId(number), validator(1), result, 1_000_000, PREDICTIONS);
        revealScore(1, 1_000_000);
    }

    function test_a_role_revoked_after_the_commitment_takes_no_score_back() public {
        commitScore(0, 7);
        vm.prank(OWNER);
        cairn.revokeRoles(modelId, validator(0), VALIDATOR);
        forward(TO_COMMIT);
        revealScore(0, 7);
        same(found().reveals, 1, "counted");
    }

    // ---------------------------------------------------------------------------------------------------------- Median

    function scored(uint32[] memory given) internal {
        for (uint256 i = 0; i < given.length; ++i) {
            grant(validator(i));
            commitScore(i, given[i]);
        }
        forward(TO_COMMIT);
        for (uint256 i = 0; i < given.length; ++i) {
            revealScore(i, given[i]);
        }
    }

    function test_the_median_counts_once_the_reveals_are_over() public {
        uint32[] memory given = new uint32[](3);
        (given[0], given[1], given[2]) = (900_000, 100_000, 700_000);
        scored(given);
        check(!found().counted, "not yet");
        same(found().median, 0, "not told");
        forward(TO_REVEAL - 1);
        check(!found().counted, "a second before");
        forward(1);
        check(found().counted, "counted");
        same(found().median, 700_000, "the middle one");
    }

    function test_too_few_reveals_count_as_none() public {
        for (uint32 i = 0; i < 4; ++i) {
            commitScore(i, i);
        }
        forward(TO_COMMIT);
        revealScore(0, 0);
        revealScore(1, 1);
        forward(TO_REVEAL);
        check(!found().counted, "two of three");
        same(found().median, 0, "none");
        same(found().reveals, 2, "both shown");
        same(scores.revealedScores(modelId, number, result).length, 2, "both shown");
        check(!scores.scoring(modelId, number, "other").counted, "nobody scored it");
    }

    function test_the_median_is_the_middle_of_any_scores(uint32[7] memory any, uint8 many) public {
        uint256 count = within(many, 3, 7);
        uint32[] memory given = new uint32[](count);
        for (uint256 i = 0; i < count; ++i) {
            given[i] = uint32(within(any[i], 0, 1_000_000));
        }
        scored(given);
        forward(TO_REVEAL);
        uint32[] memory sorted = scores.revealedScores(modelId, number, result);
        uint256 below;
        uint256 above;
        for (uint256 i = 0; i < count; ++i) {
            if (i > 0) check(sorted[i - 1] <= sorted[i], "ascending");
            if (given[i] < found().median) below += 1;
            if (given[i] > found().median) above += 1;
        }
        check(below * 2 <= count && above * 2 <= count, "as many on either side");
        if (count % 2 == 0) same(found().median, (sorted[count / 2 - 1] + sorted[count / 2]) / 2, "of the middle two");
    }

    function test_scores_change_nothing_of_the_model() public {
        bytes32 before = keccak256(abi.encode(cairn.model(modelId), cairn.round(modelId, number)));
        commitScore(0, 7);
        forward(TO_COMMIT);
        revealScore(0, 7);
        same(keccak256(abi.encode(cairn.model(modelId), cairn.round(modelId, number))), before, "as it was");
    }

    function test_money_is_refused() public {
        vm.deal(OWNER, 1 ether);
        vm.prank(OWNER);
        (bool taken,) = address(scores).call{value: 1}(abi.encodeCall(IScores.setScoreTerms, (modelId, termsOf(1))));
        check(!taken, "by a function");
        vm.prank(OWNER);
        (taken,) = address(scores).call{value: 1}("");
        check(!taken, "by none");
    }
}
