// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Before} from "../../interfaces/IChallenges.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {Counted, IDisputed, Tree} from "../../interfaces/IDisputed.sol";
import {Demanding} from "../support/Demanding.sol";
import {World} from "../support/Disputes.sol";
import {RuleBook} from "../support/RuleBook.sol";
import {Trees} from "../support/Trees.sol";

/// @notice What a round that nobody watched leaves as a parent keeps nobody from convicting what is built on it, and nobody
/// honest answers for it.
contract ParentsTest is Demanding {
    uint256 internal constant N = 150;

    /// @dev A world under rules of one state, each coordinate's being `before` in the parent or, where it begins anew, 6.
    function momentum(int64 before, uint256 values, uint8 states) private view returns (World memory w) {
        w = honest(N, 20);
        w.book.program = RuleBook.MOMENTUM;
        int64[] memory made = new int64[](N);
        for (uint256 i = 0; i < N; ++i) {
            int256 m = int256(before) / 2 + meanAt(i);
            made[i] = int64(m);
            Trees.setValue(w.version, i, Trees.float32(parentAt(i) + m, 20));
        }
        w.state = Trees.stateOf(made, 1);
        int64[] memory old = new int64[](values);
        for (uint256 i = 0; i < values; ++i) {
            old[i] = before;
        }
        w.stateBefore = Trees.stateOf(old, states);
    }

    /// @dev Round 1 leaves a parent of any roots; round 2 has been committed to.
    function after_(World memory w, bytes32 state, bytes32 layout, uint64 step) private {
        enroll(w);
        begin(w);
        w.result.versionDigest = keccak256(abi.encode("before", modelId));
        w.result.roots.tensor = w.roots.tensor;
        (w.result.roots.state, w.result.roots.stateLayout, w.result.roots.step) = (state, layout, step);
        agreed(w);
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, current, w.result);
        w.roots = w.result.roots;
        begin(w);
    }

    function layoutOf(World memory w) private view returns (bytes32) {
        return cairn.RULES().layoutOf(RuleBook.encode(w.book));
    }

    function attested(World memory w, uint64 step) private {
        w.result.roots.tensor = Trees.rootOf(w.version);
        (w.result.roots.state, w.result.roots.stateLayout, w.result.roots.step) =
            (Trees.rootOf(w.state), layoutOf(w), step);
        agreed(w);
    }

    function versionCall(World memory w) private view returns (bytes memory) {
        Before memory b = beforeAt(w, 140);
        if (w.roots.step == 7) b.state = Trees.open(w.stateBefore, w.stateBefore.data.length - 1);
        return abi.encodeCall(challenges.convictVersion, (targetOf(w), basisOf(w), b, Trees.openAt(w.version, 140)));
    }

    function sizeCall(World memory w) private view returns (bytes memory) {
        Counted memory counted = Trees.countedOf(w.stateBefore);
        return abi.encodeCall(
            challenges.convictSize, (targetOf(w), basisOf(w), Tree.ParentState, counted, nobody())
        );
    }

    function test_a_state_of_another_layout_is_not_demanded() public {
        World memory w = momentum(6, 3 * N, 3); // rows of 126 numbers, which no demand of rows of 128 could be shown from
        after_(w, Trees.rootOf(w.stateBefore), "layout of three states", 7);
        attested(w, 1);
        refuses(
            CHALLENGER,
            court.depositNow(modelId, current),
            chunkCall(w, Tree.ParentState, 1),
            abi.encodeWithSelector(IDisputed.NoState.selector)
        );
        refuses(sizeCall(w), abi.encodeWithSignature("BadTree(uint8)", Tree.ParentState));
        refuses(versionCall(w), nothingWrong(Fault.Version));
        refuses(abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w))), nothingWrong(Fault.Roots));
    }

    function test_a_state_that_goes_on_is_demanded_and_of_its_size() public {
        World memory w = momentum(6, N, 1);
        after_(w, Trees.rootOf(w.stateBefore), layoutOf(w), 7);
        attested(w, 8);
        refuses(sizeCall(w), nothingWrong(Fault.Size));
        refuses(versionCall(w), nothingWrong(Fault.Version));
        succeeds(CHALLENGER, chunkCall(w, Tree.ParentState, 1));
    }

    function test_a_false_version_is_convicted_on_a_state_without_rules() public {
        World memory w = honest(5, 20);
        after_(w, "anything", 0, 0);
        Trees.setValue(w.version, 3, Trees.float32(parentAt(3) + meanAt(3) + 1, 20));
        settle(w);
        agreed(w);
        bytes memory call = abi.encodeCall(
            challenges.convictVersion, (targetOf(w), basisOf(w), beforeAt(w, 3), Trees.openAt(w.version, 3))
        );
        convicts(w, Fault.Version, Part.Values, 0, call);
    }

    function test_a_state_of_more_steps_than_programs_are_proved_for_begins_anew() public {
        uint64[3] memory steps_ = [uint64(1) << 31, uint64(1) << 63, type(uint64).max];
        for (uint256 i = 0; i < 3; ++i) {
            World memory w = momentum(6, N, 1);
            after_(w, Trees.rootOf(w.stateBefore), layoutOf(w), steps_[i]);
            Trees.setValue(w.version, 140, Trees.float32(parentAt(140) + meanAt(140) + 999, 20));
            attested(w, 1);
            refuses(abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w))), nothingWrong(Fault.Roots));
            convicts(w, Fault.Version, Part.Values, 0, versionCall(w));
        }
    }

    function test_a_layout_without_a_state_begins_anew() public {
        World memory w = momentum(6, N, 1);
        after_(w, 0, layoutOf(w), 7);
        Trees.setValue(w.version, 140, Trees.float32(parentAt(140) + meanAt(140) + 999, 20));
        attested(w, 1);
        refuses(abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w))), nothingWrong(Fault.Roots));
        convicts(w, Fault.Version, Part.Values, 0, versionCall(w));
    }

    function test_what_is_built_on_a_state_of_another_size_is_convicted() public {
        for (uint256 i = 0; i < 2; ++i) {
            World memory w = momentum(6, i == 0 ? N + 1 : 1, 1);
            after_(w, Trees.rootOf(w.stateBefore), layoutOf(w), 7);
            attested(w, 8);
            convicts(w, Fault.Size, Part.Whole, 0, sizeCall(w));
        }
    }
}
