// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../../interfaces/IChallenges.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {Contribution, IDisputed, Opening, Target} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "../support/Disputes.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Contributions that nobody committed. `Streams.tree` has the branches.
contract ReplaysTest is Disputes {
    /// @dev The round's commitments first..last-1, in commit order, which here is the list's.
    function log(World memory w, uint256 first, uint256 last) internal view returns (Contribution[] memory found) {
        found = new Contribution[](last - first);
        for (uint256 k = first; k < last; ++k) {
            found[k - first] = committed(w)[k];
        }
    }

    function runningAfter(World memory w, uint256 count) internal view returns (bytes32 running) {
        running = cairn.dispute(modelId, current).firstHash;
        Contribution[] memory all = log(w, 0, count);
        for (uint256 k = 0; k < count; ++k) {
            Contribution memory c = all[k];
            running = keccak256(abi.encode(running, c.participant, c.digest, c.tensorRoot, c.weight));
        }
    }

    function replayCall(Target memory target, bytes32 leafHash, bytes32 running, Contribution[] memory some)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.replayCommitments, (target, leafHash, running, some));
    }

    function uncommittedCall(World memory w, uint64 index, bytes32 running, Contribution[] memory some)
        internal
        view
        returns (bytes memory)
    {
        Opening memory opening = Trees.open(Trees.listOf(w.list), index);
        return abi.encodeCall(challenges.convictUncommitted, (targetOf(w), index, opening, running, some));
    }

    function badProgress(address challenger) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.BadProgress.selector, challenger);
    }

    function isCommitted(address participant) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.ItIsCommitted.selector, participant);
    }

    function otherList(bytes32 given, bytes32 expected) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.OtherList.selector, given, expected);
    }

    function test_convictUncommitted_reverts_on_every_contribution_that_is_committed() public {
        World memory w = honest(5, 24);
        dispute(w);
        for (uint64 k = 0; k < 3; ++k) {
            refuses(uncommittedCall(w, k, 0, log(w, 0, 3)), isCommitted(participants[k]));
        }
    }

    function test_convictUncommitted_convicts_any_change_of_a_contribution(uint8 field, uint8 which) public {
        World memory w = honest(5, 24);
        anchor(w);
        uint64 k = which % 3;
        field = uint8(within(field, 0, 3));
        if (field == 0) w.list[k].participant = address(uint160(w.list[k].participant) + 1);
        if (field == 1) w.list[k].digest = "another";
        if (field == 2) w.list[k].tensorRoot = "another";
        if (field == 3) w.list[k].weight += 1;
        settle(w);
        agreed(w);
        convicts(w, Fault.Uncommitted, Part.Whole, 0, uncommittedCall(w, k, 0, log(w, 0, 3)));
    }

    function test_convictUncommitted_convicts_bytes_that_are_no_contribution() public {
        uint256[4] memory lengths = [uint256(0), 64, 127, 160];
        for (uint256 i = 0; i < 4; ++i) {
            World memory w = honest(5, 24);
            anchor(w);
            Leaves memory list = Trees.listOf(w.list);
            list.data[1] = new bytes(lengths[i]);
            w.result.contributionsRoot = Trees.rootOf(list);
            agreed(w);
            bytes memory call = abi.encodeCall(
                challenges.convictUncommitted, (targetOf(w), 1, Trees.open(list, 1), bytes32(0), log(w, 0, 3))
            );
            convicts(w, Fault.Uncommitted, Part.Whole, 0, call);
        }
    }

    function test_convictUncommitted_reverts_on_a_replay_that_is_not_the_rounds() public {
        World memory w = honest(5, 24);
        anchor(w);
        w.list[1].weight += 1;
        settle(w);
        agreed(w);
        bytes32 end = runningHash(current);
        refuses(uncommittedCall(w, 1, 0, log(w, 0, 2)), otherList(runningAfter(w, 2), end));
        refuses(uncommittedCall(w, 1, 0, log(w, 0, 0)), otherList(runningAfter(w, 0), end));
        Contribution[] memory others = log(w, 0, 3);
        (others[0], others[2]) = (others[2], others[0]);
        bytes32 running = runningAfter(w, 0);
        for (uint256 k = 0; k < 3; ++k) {
            Contribution memory c = others[k];
            running = keccak256(abi.encode(running, c.participant, c.digest, c.tensorRoot, c.weight));
        }
        refuses(uncommittedCall(w, 1, 0, others), otherList(running, end));
        // The list itself, as it is said to be, does not come to the running hash either.
        refuses(uncommittedCall(w, 1, 0, w.list), isCommitted(participants[1]));
    }

    function test_convictUncommitted_reverts_on_a_leaf_that_is_not_in_the_list() public {
        World memory w = honest(5, 24);
        dispute(w);
        Opening memory forged = Trees.open(Trees.listOf(w.list), 1);
        forged.leaf[127] ^= 0x01;
        Contribution[] memory all = log(w, 0, 3);
        Target memory target = targetOf(w);
        bytes32 root = w.result.contributionsRoot;
        refuses(abi.encodeCall(challenges.convictUncommitted, (target, 1, forged, 0, all)), badProof(root, 1));
        forged = Trees.open(Trees.listOf(w.list), 1);
        refuses(abi.encodeCall(challenges.convictUncommitted, (target, 3, forged, 0, all)), badProof(root, 3));
        forged.counted.count = 4;
        refuses(
            abi.encodeCall(challenges.convictUncommitted, (target, 1, forged, 0, all)),
            abi.encodeWithSelector(IDisputed.BadCount.selector, root)
        );
    }

    function test_replayCommitments_reverts_outside_the_window() public {
        World memory w = honest(5, 24);
        anchor(w);
        bytes memory reason =
            abi.encodeWithSelector(IDisputed.NotDisputed.selector, modelId, current, hashOf(w.result));
        refuses(replayCall(targetOf(w), "leaf", 0, log(w, 0, 1)), reason);
        refuses(uncommittedCall(w, 1, 0, log(w, 0, 3)), reason);
    }

    function test_replayCommitments_goes_on_from_the_senders_last_progress_for_that_leaf_alone() public {
        World memory w = honest(5, 24);
        anchor(w);
        w.list[2].digest = "another";
        settle(w);
        agreed(w);
        Target memory target = targetOf(w);
        bytes32 leafHash = Trees.leafHash(Trees.listOf(w.list).data[2]);
        succeeds(CHALLENGER, replayCall(target, leafHash, 0, log(w, 0, 1)));
        bytes memory next = replayCall(target, leafHash, runningAfter(w, 1), log(w, 1, 2));
        refuses(STRANGER, 0, next, badProgress(STRANGER));
        bytes memory other = replayCall(target, ~leafHash, runningAfter(w, 1), log(w, 1, 2));
        refuses(CHALLENGER, 0, other, badProgress(CHALLENGER));
        other = replayCall(target, leafHash, runningAfter(w, 2), log(w, 2, 3));
        refuses(CHALLENGER, 0, other, badProgress(CHALLENGER));
        succeeds(CHALLENGER, next);
        bytes memory last = uncommittedCall(w, 2, runningAfter(w, 2), log(w, 2, 3));
        refuses(STRANGER, 0, last, badProgress(STRANGER));
        convicts(w, Fault.Uncommitted, Part.Whole, 0, last);
    }

    function test_replayCommitments_reverts_where_it_meets_the_contribution() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        bytes32 leafHash = Trees.leafHash(Trees.listOf(w.list).data[1]);
        succeeds(CHALLENGER, replayCall(target, leafHash, 0, log(w, 0, 1)));
        bytes memory next = replayCall(target, leafHash, runningAfter(w, 1), log(w, 1, 3));
        refuses(CHALLENGER, 0, next, isCommitted(participants[1]));
    }

    function test_replayCommitments_tells_and_moves_the_window_once() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        uint40 end = cairn.round(modelId, current).challengeDeadline;
        bytes32 held = tally(w);
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory call = replayCall(target, "leaf", 0, log(w, 0, 2));
            expectEvent(address(challenges));
            emit IChallenges.ChallengeAdvanced(roundId(current), held, CHALLENGER, 2);
            succeeds(CHALLENGER, call);
            same(cairn.round(modelId, current).challengeDeadline, end + CHALLENGE, "window");
        }
    }

    function test_commitments_with_dirty_bytes_revert() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        bytes memory call = replayCall(target, "leaf", 0, log(w, 0, 1));
        // The last four words are the commitment. Bytes above the address or the weight would give it another leaf.
        uint256[2] memory place = [call.length - 128, call.length - 32];
        for (uint256 i = 0; i < 2; ++i) {
            call[place[i]] = 0x01;
            refuses(call, "");
            call[place[i]] = 0;
        }
        succeeds(CHALLENGER, call);
    }
}
