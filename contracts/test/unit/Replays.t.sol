// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Commitment, IChallenges} from "../../interfaces/IChallenges.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {IDisputed, Opening, Target} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "../support/Disputes.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Contributions that nobody committed. `Streams.tree` has the branches.
contract ReplaysTest is Disputes {
    /// @dev The round's commitments first..last-1, in commit order, which here is the list's.
    function log(World memory w, uint256 first, uint256 last) internal view returns (Commitment[] memory found) {
        found = commitmentsOf(committed(w), first, last);
    }

    function runningAfter(World memory w, uint256 count) internal view returns (bytes32 running) {
        running = cairn.dispute(modelId, current).firstHash;
        return extendedBy(running, log(w, 0, count));
    }

    function replayCall(Target memory target, bytes32 sought, bytes32 running, Commitment[] memory some)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.replayCommitments, (target, sought, running, some));
    }

    function uncommittedCall(World memory w, uint64 index, bytes32 running, Commitment[] memory some)
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
        field = uint8(within(field, 0, 4));
        if (field == 0) w.list[k].participant = address(uint160(w.list[k].participant) + 1);
        if (field == 1) w.list[k].digest = "another";
        if (field == 2) w.list[k].tensorRoot = "another";
        if (field == 3) w.list[k].weight += 1;
        if (field == 4) w.list[k].steps += 1;
        settle(w);
        agreed(w);
        convicts(w, Fault.Uncommitted, Part.Whole, 0, uncommittedCall(w, k, 0, log(w, 0, 3)));
    }

    function test_convictUncommitted_asks_nothing_of_the_factor() public {
        World memory w = honest(5, 24);
        anchor(w);
        w.list[1].factor -= 1;
        settle(w);
        agreed(w);
        refuses(uncommittedCall(w, 1, 0, log(w, 0, 3)), isCommitted(participants[1]));
    }

    function test_convictUncommitted_convicts_bytes_that_are_no_contribution() public {
        uint256[5] memory lengths = [uint256(0), 64, 160, 191, 224];
        for (uint256 i = 0; i < 5; ++i) {
            World memory w = honest(5, 24);
            anchor(w);
            Leaves memory list = Trees.listOf(w.list);
            // The commitment itself, cut or continued: at 160 bytes, all of it and no factor.
            bytes memory leaf = new bytes(lengths[i]);
            for (uint256 b = 0; b < leaf.length && b < list.data[1].length; ++b) {
                leaf[b] = list.data[1][b];
            }
            list.data[1] = leaf;
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
        Commitment[] memory others = log(w, 0, 3);
        (others[0], others[2]) = (others[2], others[0]);
        refuses(uncommittedCall(w, 1, 0, others), otherList(extendedBy(runningAfter(w, 0), others), end));
        // The list itself, as it is said to be, does not come to the running hash either.
        others = commitmentsOf(w.list, 0, 3);
        refuses(uncommittedCall(w, 1, 0, others), isCommitted(participants[1]));
    }

    function test_convictUncommitted_reverts_on_a_leaf_that_is_not_in_the_list() public {
        World memory w = honest(5, 24);
        dispute(w);
        Opening memory forged = Trees.open(Trees.listOf(w.list), 1);
        forged.leaf[159] ^= 0x01;
        Commitment[] memory all = log(w, 0, 3);
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
        bytes32 sought = keccak256(abi.encode(commitmentsOf(w.list, 2, 3)[0]));
        succeeds(CHALLENGER, replayCall(target, sought, 0, log(w, 0, 1)));
        bytes memory next = replayCall(target, sought, runningAfter(w, 1), log(w, 1, 2));
        refuses(STRANGER, 0, next, badProgress(STRANGER));
        bytes memory other = replayCall(target, ~sought, runningAfter(w, 1), log(w, 1, 2));
        refuses(CHALLENGER, 0, other, badProgress(CHALLENGER));
        other = replayCall(target, sought, runningAfter(w, 2), log(w, 2, 3));
        refuses(CHALLENGER, 0, other, badProgress(CHALLENGER));
        succeeds(CHALLENGER, next);
        bytes memory last = uncommittedCall(w, 2, runningAfter(w, 2), log(w, 2, 3));
        refuses(STRANGER, 0, last, badProgress(STRANGER));
        convicts(w, Fault.Uncommitted, Part.Whole, 0, last);
    }

    function test_replayCommitments_reverts_where_it_meets_the_contribution() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        bytes32 sought = keccak256(abi.encode(commitmentsOf(w.list, 1, 2)[0]));
        succeeds(CHALLENGER, replayCall(target, sought, 0, log(w, 0, 1)));
        bytes memory next = replayCall(target, sought, runningAfter(w, 1), log(w, 1, 3));
        refuses(CHALLENGER, 0, next, isCommitted(participants[1]));
    }

    function test_replayCommitments_tells_and_moves_the_window_once_unless_nothing_is_replayed() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        uint40 end = cairn.round(modelId, current).challengeDeadline;
        bytes32 held = tally(w);
        for (uint32 i = 0; i < 3; ++i) {
            bytes memory call = replayCall(target, "leaf", 0, log(w, 0, i));
            expectEvent(address(challenges));
            emit IChallenges.ChallengeAdvanced(roundId(current), held, CHALLENGER, i);
            succeeds(CHALLENGER, call);
            same(cairn.round(modelId, current).challengeDeadline, i == 0 ? end : end + CHALLENGE, "window");
        }
    }

    function test_commitments_with_dirty_bytes_revert() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        bytes memory call = replayCall(target, "leaf", 0, log(w, 0, 1));
        // The last five words are the commitment. Bytes above address, weight or steps would give it another leaf.
        uint256[3] memory place = [call.length - 160, call.length - 64, call.length - 32];
        for (uint256 i = 0; i < 3; ++i) {
            call[place[i]] = 0x01;
            refuses(call, "");
            call[place[i]] = 0;
        }
        succeeds(CHALLENGER, call);
    }
}
