// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId, Standing} from "../../interfaces/ICairn.sol";
import {Before, Commitment, IChallenges, Step, Sum} from "../../interfaces/IChallenges.sol";
import {Demanded, Fault, ICourt, Part} from "../../interfaces/ICourt.sol";
import {Basis, Counted, HeadKind, IDisputed, Membership, Opening, Target, Tree} from "../../interfaces/IDisputed.sol";
import {Cairn} from "../../Cairn.sol";
import {Deploy} from "../support/Deploy.sol";
import {World} from "../support/Disputes.sol";
import {Headed} from "../support/Headed.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Who challenges an honest result convicts nobody, whatever is shown.
contract ChallengersTest is Headed {
    World internal kept;

    /// @dev Everything that can be said of a result by calls, honest openings throughout.
    function everyChallenge(World memory w, Target memory target, uint64 place)
        internal
        view
        returns (bytes[] memory all)
    {
        Opening[3] memory o =
            [Trees.openAt(w.parent, place), Trees.openAt(w.aggregate, place), Trees.openAt(w.version, place)];
        Basis memory basis = basisOf(w);
        Step[] memory three = steps(w, place, 0, 3);
        all = new bytes[](17);
        all[0] = abi.encodeCall(challenges.convictCount, (target, Trees.countedOf(Trees.listOf(w.list))));
        all[1] = abi.encodeCall(challenges.convictOrder, (target, member(w, 0), member(w, 1)));
        all[2] = abi.encodeCall(challenges.convictRoots, (target, basis));
        all[3] = abi.encodeCall(challenges.convictSize, (target, basis, Tree.Parent, o[0].counted, nobody()));
        all[4] = abi.encodeCall(challenges.convictSize, (target, basis, Tree.Version, o[2].counted, nobody()));
        all[5] = abi.encodeCall(
            challenges.convictSize, (target, basis, Tree.Contribution, Trees.countedOf(w.updates[2]), member(w, 2))
        );
        all[6] = abi.encodeCall(challenges.convictChunk, (target, basisOf(w), Tree.Aggregate, nobody(), place, o[1]));
        all[7] = abi.encodeCall(challenges.convictChunk, (target, basisOf(w), Tree.Version, nobody(), place, o[2]));
        all[8] = abi.encodeCall(
            challenges.convictChunk, (target, basisOf(w), Tree.Contribution, member(w, 2), place, Trees.openAt(w.updates[2], place))
        );
        all[9] = abi.encodeCall(challenges.convictVersion, (target, basis, beforeAt(w, place), o[2]));
        all[10] = abi.encodeCall(challenges.convictAggregate, (target, basisOf(w), place, zeros(), three, o[1]));
        all[11] = abi.encodeCall(challenges.convictTotal, (target, basisOf(w), zeros(), steps(w, NONE, 0, 3)));
        all[12] = abi.encodeCall(challenges.convictFactor, (target, basisOf(w), 1, Trees.open(Trees.listOf(w.list), 1)));
        all[13] = abi.encodeCall(challenges.convictTwice, (target, member(w, 0), member(w, 2)));
        all[14] = headCall(target, HeadKind.Update, member(w, 1), updateHead(w.list[1], current));
        all[15] = headCall(target, HeadKind.Version, nobody(), versionHead(w, current));
        all[16] = headCall(target, HeadKind.Report, nobody(), reportHead(w, current));
    }

    function fails(bytes memory call) internal {
        vm.prank(CHALLENGER);
        (bool done,) = address(challenges).call(call);
        check(!done, "no conviction");
    }

    function test_false_challenges_convict_nobody(uint64 place) public {
        World memory w = honest(11, 24);
        Target memory target = dispute(w);
        bytes[] memory all = everyChallenge(w, target, uint64(within(place, 0, 10)));
        for (uint256 i = 0; i < all.length; ++i) {
            fails(all[i]);
        }
        same(cairn.dispute(modelId, current).tally, hashOf(w.result), "in its window still");
        check(!cairn.round(modelId, current).extended, "and nothing moved");
    }

    function test_a_byte_changed_anywhere_in_a_challenge_convicts_nobody(uint8 which, uint256 place, uint8 bits)
        public
    {
        World memory w = honest(4, 24);
        Target memory target = dispute(w);
        bytes[] memory all = everyChallenge(w, target, 2);
        bytes memory call = all[which % all.length];
        place = within(place, 4, call.length - 1);
        call[place] ^= bytes1(uint8(within(bits, 1, 255)));
        fails(call);
        same(cairn.dispute(modelId, current).tally, hashOf(w.result), "in its window still");
    }

    function test_openings_of_other_places_and_blobs_convict_nobody(uint8 a, uint8 b, uint8 c) public {
        World memory w = honest(4, 24);
        Target memory target = dispute(w);
        Leaves[6] memory blobs = [w.parent, w.aggregate, w.version, w.updates[0], w.updates[1], w.updates[2]];
        Opening[3] memory o = [Trees.open(blobs[a % 6], 0), Trees.open(blobs[b % 6], 0), Trees.open(blobs[c % 6], 0)];
        Before memory before = beforeAt(w, 1);
        (before.parent, before.aggregate) = (o[0], o[1]);
        fails(abi.encodeCall(challenges.convictVersion, (target, basisOf(w), before, o[2])));
        Step[] memory three = steps(w, 1, 0, 3);
        (three[0].chunk, three[1].chunk, three[2].chunk) = (o[0], o[1], o[2]);
        fails(abi.encodeCall(challenges.convictAggregate, (target, basisOf(w), 1, zeros(), three, Trees.open(w.aggregate, 0))));
    }

    function test_a_proof_for_a_tree_of_another_size_shows_nothing() public {
        // The right inner root with another count: the last chunk would have another length, or not be there.
        World memory w = honest(2500, 24);
        Target memory target = dispute(w);
        Opening memory o = Trees.open(w.aggregate, 2);
        uint64[4] memory counts = [uint64(2499), 2501, 3072, 2048];
        bytes memory reason = abi.encodeWithSelector(IDisputed.BadCount.selector, w.result.aggregateRoot);
        for (uint256 i = 0; i < 4; ++i) {
            o.counted.count = counts[i];
            refuses(abi.encodeCall(challenges.convictChunk, (target, basisOf(w), Tree.Aggregate, nobody(), 2048, o)), reason);
            refuses(
                abi.encodeCall(
                    challenges.convictSize, (target, basisOf(w), Tree.Aggregate, o.counted, nobody())
                ),
                reason
            );
        }
    }

    function test_a_node_shown_as_a_chunk_or_a_contribution_shows_nothing() public {
        World memory w = honest(2500, 24);
        Target memory target = dispute(w);
        // The two hashes below an inner node, as if they were a chunk of sixteen values.
        bytes32[] memory hashes = Trees.hashesOf(w.aggregate.data);
        Opening memory o = Trees.open(w.aggregate, 0);
        o.leaf = abi.encodePacked(hashes[0], hashes[1]);
        o.proof = new bytes32[](1);
        o.proof[0] = hashes[2];
        refuses(
            abi.encodeCall(challenges.convictChunk, (target, basisOf(w), Tree.Aggregate, nobody(), 0, o)),
            badProof(w.result.aggregateRoot, 0)
        );
        o.leaf = abi.encodePacked(bytes1(0x01), hashes[0], hashes[1]);
        refuses(
            abi.encodeCall(challenges.convictChunk, (target, basisOf(w), Tree.Aggregate, nobody(), 256, o)),
            badProof(w.result.aggregateRoot, 1)
        );
        bytes32[] memory listed = Trees.hashesOf(Trees.listOf(w.list).data);
        o = Trees.open(Trees.listOf(w.list), 0);
        o.leaf = abi.encodePacked(listed[0], listed[1]);
        o.proof = new bytes32[](1);
        o.proof[0] = listed[2];
        refuses(
            abi.encodeCall(challenges.convictUncommitted, (target, 0, o, bytes32(0), new Commitment[](0))),
            badProof(w.result.contributionsRoot, 0)
        );
    }

    function test_a_leaf_past_the_end_shows_nothing() public {
        World memory w = honest(2500, 24);
        Target memory target = dispute(w);
        Membership memory past = member(w, 2);
        past.index = 3;
        refuses(
            abi.encodeCall(challenges.convictOrder, (target, member(w, 2), past)),
            badProof(w.result.contributionsRoot, 3)
        );
        past.index = NONE;
        refuses(
            abi.encodeCall(challenges.convictTwice, (target, member(w, 0), past)),
            badProof(w.result.contributionsRoot, NONE)
        );
        refuses(abi.encodeCall(challenges.convictOrder, (target, past, member(w, 0))), badIndex(NONE, 0));
        Opening memory o = Trees.open(w.aggregate, 2);
        uint64[3] memory coordinates = [uint64(3072), NONE, uint64(1) << 63];
        for (uint256 i = 0; i < 3; ++i) {
            refuses(
                abi.encodeCall(challenges.convictChunk, (target, basisOf(w), Tree.Aggregate, nobody(), coordinates[i], o)),
                badProof(w.result.aggregateRoot, coordinates[i] / 256)
            );
        }
    }

    // ------------------------------------------------------------------------------- Other rounds, models, deployments

    /// @dev A lie in one round, and what convicts it there.
    function told(World memory w) internal returns (bytes memory call) {
        Trees.setValue(w.version, 1, 0x7fc00000);
        dispute(w);
        call = versionCall(w, modelId, current);
    }

    function versionCall(World memory w, ModelId id, uint64 number) internal view returns (bytes memory) {
        Target memory target = Target(id, number, w.result);
        return abi.encodeCall(
            challenges.convictVersion,
            (target, basisOf(w), beforeAt(w, 1), Trees.open(w.version, 0))
        );
    }

    function notDisputed(World memory w, ModelId id, uint64 number) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputed.NotDisputed.selector, id, number, hashOf(w.result));
    }

    function test_what_convicts_in_one_model_convicts_nobody_in_another() public {
        World memory lying = honest(4, 24);
        told(lying);
        ModelId first = modelId;
        World memory w = honest(4, 24);
        dispute(w);
        refuses(versionCall(lying, modelId, current), notDisputed(lying, modelId, current));
        modelId = first;
        convicts(lying, Fault.Version, Part.Values, 0, versionCall(lying, first, current));
    }

    function test_what_convicted_in_one_round_convicts_nobody_in_the_next() public {
        World memory lying = honest(4, 24);
        bytes memory call = told(lying);
        succeeds(CHALLENGER, call);
        expelTwo();
        refuses(call, notDisputed(lying, modelId, current));
        World memory w = honest(4, 24);
        (w.list, w.roots, w.result) = (lying.list, lying.roots, lying.result);
        settle(w);
        agreedByNew(w);
        // An honest result in the same round now, and in the round after it.
        refuses(call, notDisputed(lying, modelId, current));
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, current, w.result);
        uint64 next = open();
        commitAll(next);
        forward(COMMIT + PUBLISH);
        agree(next, someResult("next"));
        refuses(call, notDisputed(lying, modelId, current));
        refuses(versionCall(lying, modelId, next), notDisputed(lying, modelId, next));
    }

    function test_what_convicts_on_one_contract_convicts_nobody_on_another() public {
        World memory lying = honest(4, 24);
        bytes memory call = told(lying);
        IChallenges first = challenges;
        cairn = Deploy.cairn();
        (challenges, court) = (cairn.CHALLENGES(), cairn.COURT());
        ModelId elsewhere = modelId;
        World memory w = honest(4, 24);
        _models = 0; // the same genesis as there
        dispute(w);
        check(ModelId.unwrap(elsewhere) != ModelId.unwrap(modelId), "another model");
        refuses(call, notDisputed(lying, elsewhere, current));
        refuses(versionCall(lying, modelId, current), notDisputed(lying, modelId, current));
        vm.prank(CHALLENGER);
        (bool done,) = address(first).call(call);
        check(done, "there it does");
    }

    function test_a_model_on_another_chain_has_another_name() public {
        World memory w = honest(4, 24);
        dispute(w);
        ModelId here = modelId;
        vm.chainId(block.chainid + 1);
        _models -= 1;
        dispute(honest(4, 24)); // the same owner and genesis, after a fork: registered anew
        check(ModelId.unwrap(here) != ModelId.unwrap(modelId), "another model");
    }

    // ------------------------------------------------------------------------------------------- Progress, and commitments

    function test_stale_progress_of_another_sender_or_result_is_worth_nothing() public {
        World memory w = honest(4, 24);
        Trees.setValue(w.aggregate, 0, Trees.float32(meanAt(0) + 1, 24));
        Target memory target = dispute(w);
        succeeds(STRANGER, abi.encodeCall(challenges.addContributions, (target, basisOf(w), 0, zeros(), steps(w, 0, 0, 2))));
        Opening memory aggregate = Trees.open(w.aggregate, 0);
        bytes memory rest =
            abi.encodeCall(challenges.convictAggregate, (target, basisOf(w), 0, sumOf(w, 0, 2), steps(w, 0, 2, 3), aggregate));
        bytes memory reason = abi.encodeWithSelector(IChallenges.BadProgress.selector, CHALLENGER);
        refuses(CHALLENGER, 0, rest, reason);
        // Void for want of an answer and attested anew: what was added up before counts no longer, even its sender's.
        unanswered(w);
        expelTwo();
        agreedByNew(w);
        refuses(STRANGER, 0, rest, abi.encodeWithSelector(IChallenges.BadProgress.selector, STRANGER));
        bytes memory whole =
            abi.encodeCall(challenges.convictAggregate, (target, basisOf(w), 0, zeros(), steps(w, 0, 0, 3), aggregate));
        convicts(w, Fault.Aggregate, Part.Values, 0, whole);
    }

    function test_a_sum_is_not_taken_for_a_running_hash() public {
        World memory w = honest(4, 24);
        Target memory target = dispute(w);
        // Both kinds of progress are kept under names of one form: a coordinate may be written as a leaf's hash.
        succeeds(CHALLENGER, abi.encodeCall(challenges.addContributions, (target, basisOf(w), 3, zeros(), steps(w, 3, 0, 3))));
        bytes32 sum = keccak256(abi.encode(sumOf(w, 3, 3)));
        Commitment[] memory some = new Commitment[](0);
        succeeds(CHALLENGER, abi.encodeCall(challenges.replayCommitments, (target, bytes32(uint256(3)), sum, some)));
        // One may go on from there, but no leaf has that hash.
        Opening memory o = Trees.open(Trees.listOf(w.list), 0);
        refuses(
            CHALLENGER,
            0,
            abi.encodeCall(challenges.convictUncommitted, (target, 0, o, sum, some)),
            abi.encodeWithSelector(IChallenges.BadProgress.selector, CHALLENGER)
        );
    }

    function test_a_running_hash_is_not_taken_for_a_sum() public {
        World memory w = honest(4, 24);
        Target memory target = dispute(w);
        Commitment[] memory all = commitmentsOf(w.list, 0, 3);
        bytes memory call =
            abi.encodeCall(challenges.replayCommitments, (target, bytes32(uint256(3)), bytes32(0), all));
        succeeds(CHALLENGER, call);
        Sum memory s = sumOf(w, 3, 3);
        Opening memory o = Trees.open(w.aggregate, 0);
        refuses(
            CHALLENGER,
            0,
            abi.encodeCall(challenges.convictAggregate, (target, basisOf(w), 3, s, new Step[](0), o)),
            abi.encodeWithSelector(IChallenges.BadProgress.selector, CHALLENGER)
        );
    }

    // ------------------------------------------------------------------------------------------------------------ Delay

    function test_challenging_without_end_delays_by_one_duration() public {
        World memory w = honest(4, 24);
        Target memory target = dispute(w);
        uint256 end = time() + 2 * CHALLENGE;
        Commitment[] memory none = new Commitment[](0);
        for (uint64 i = 0; time() + 2 * ANSWER < end; ++i) {
            succeeds(CHALLENGER, abi.encodeCall(challenges.addContributions, (target, basisOf(w), i, zeros(), new Step[](0))));
            succeeds(CHALLENGER, abi.encodeCall(challenges.replayCommitments, (target, "leaf", bytes32(0), none)));
            succeeds(CHALLENGER, 1, listCall(w, 3 + i));
            Demanded memory d = demandedOf(w, w.result.contributionsRoot, true, 3 + i);
            forward(ANSWER - 1);
            succeeds(aggregators[0], showCall(d, Opening(Trees.countedOf(Trees.listOf(w.list)), "", new bytes32[](0))));
        }
        vm.warp(end);
        vm.prank(STRANGER);
        cairn.finalizeRound(modelId, current, w.result);
        check(court.credit(aggregators[0]) > 0, "and the answers were paid");
        same(uint256(cairn.standing(modelId, current, hashOf(w.result))), uint256(Standing.Sound), "sound");
    }

    function test_a_demand_just_before_the_end_cannot_be_made_once_the_window_has_moved() public {
        World memory w = honest(4, 24);
        dispute(w);
        uint40 end = uint40(time()) + 2 * CHALLENGE;
        forward(CHALLENGE - 1);
        succeeds(CHALLENGER, listCall(w, 0));
        succeeds(
            aggregators[0],
            showCall(demandedOf(w, w.result.contributionsRoot, true, 0), Trees.open(Trees.listOf(w.list), 0))
        );
        vm.warp(end - 2 * ANSWER + 1);
        refuses(listCall(w, 1), abi.encodeWithSelector(ICourt.TooLate.selector, time(), end));
        vm.warp(end - 1);
        refuses(listCall(w, 1), abi.encodeWithSelector(ICourt.TooLate.selector, time(), end));
    }
}
