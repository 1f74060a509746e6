// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Roots} from "../../interfaces/ICairn.sol";
import {Before, IChallenges, SegmentKind, Segment} from "../../interfaces/IChallenges.sol";
import {Demanded, Fault, Part} from "../../interfaces/ICourt.sol";
import {Basis, Counted, IDisputed, Opening, Tree} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "../support/Disputes.sol";
import {RuleBook} from "../support/RuleBook.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Version and state under server programs, scales and buffers. Five coordinates: a buffer that cannot be negative,
/// scaled by 2, a parameter scaled by 4, a buffer, two parameters.
contract ConvictedStepsTest is Disputes {
    uint32 internal constant LARGEST = 0x7f7fffff;
    int64[5] internal before_ = [int64(10), -7, 3, 4, 0];

    // ---------------------------------------------------------------------------------------------------------- Worlds

    /// @dev Rules of several segments, and what they make of the honest blobs.
    function mixed(bytes memory program, bool continued) internal view returns (World memory w) {
        w = honest(5, 20);
        w.book.program = program;
        w.book.segments = RuleBook.segmentsOf(1, 1, SegmentKind.NonNegative);
        RuleBook.append(w.book.segments, 1, 1, 2, SegmentKind.Parameter);
        RuleBook.append(w.book.segments, 2, 1, 0, SegmentKind.Buffer);
        RuleBook.append(w.book.segments, 3, 1, 0, SegmentKind.Parameter);
        RuleBook.append(w.book.segments, 4, 1, 0, SegmentKind.Parameter);
        Trees.setValue(w.parent, 0, Trees.float32(1, 20)); // the mean takes it below zero
        bool stateful = program.length > 5;
        int64[] memory states = new int64[](5);
        for (uint64 i = 0; i < 5; ++i) {
            int256 m = continued ? int256(before_[i]) : int256(6);
            int256 d = meanAt(i);
            if (stateful && i != 0 && i != 2) {
                m = (m >> 1) + d;
                d = m;
            }
            states[i] = int64(m);
            int256 value = i == 0 ? int256(1) + 2 * d : parentAt(i) + (i == 1 ? 4 * d : d);
            if (i == 0 && value < 0) value = 0;
            Trees.setValue(w.version, i, Trees.float32(value, 20));
        }
        if (stateful) w.state = Trees.stateOf(states, 1);
        if (stateful && continued) {
            for (uint256 i = 0; i < 5; ++i) {
                states[i] = before_[i];
            }
            w.stateBefore = Trees.stateOf(states, 1);
        }
    }

    /// @dev As `dispute`, for rules with a state: a first round brings the parent its state where there is to be one.
    function disputed(World memory w) internal {
        if (w.state.count == 0) {
            dispute(w);
            return;
        }
        bytes32 kept = cairn.RULES().layoutOf(RuleBook.encode(w.book));
        disputedAfter(w, kept, kept);
    }

    /// @dev The same; the state that the parent is brought has this layout.
    function disputedAfter(World memory w, bytes32 layout, bytes32 kept) internal {
        if (w.stateBefore.count == 0) {
            anchor(w);
        } else {
            enroll(w);
            begin(w);
            w.result.versionDigest = keccak256(abi.encode("before", modelId));
            w.result.roots.tensor = w.roots.tensor;
            (w.result.roots.state, w.result.roots.stateLayout, w.result.roots.step) =
                (Trees.rootOf(w.stateBefore), layout, 7);
            agreed(w);
            forward(CHALLENGE);
            cairn.finalizeRound(modelId, current, w.result);
            w.roots = w.result.roots;
            begin(w);
        }
        w.result.roots.state = Trees.rootOf(w.state);
        bool continued = w.stateBefore.count != 0 && layout == kept;
        (w.result.roots.stateLayout, w.result.roots.step) = (kept, continued ? 8 : 1);
        agreed(w);
    }

    function beforeOf(World memory w, uint64 coordinate) internal pure returns (Before memory b) {
        b = beforeAt(w, coordinate);
        if (w.stateBefore.count != 0) b.state = Trees.open(w.stateBefore, 0);
    }

    function versionCall(World memory w, uint64 coordinate) internal view returns (bytes memory) {
        return versionCall(w, beforeOf(w, coordinate), coordinate);
    }

    function versionCall(World memory w, Before memory b, uint64 coordinate) internal view returns (bytes memory) {
        return abi.encodeCall(
            challenges.convictVersion, (targetOf(w), basisOf(w), b, Trees.openAt(w.version, coordinate))
        );
    }

    function stateCall(World memory w, uint64 coordinate) internal view returns (bytes memory) {
        return abi.encodeCall(
            challenges.convictState, (targetOf(w), basisOf(w), beforeOf(w, coordinate), Trees.open(w.state, 0))
        );
    }

    function programs(uint256 which) internal pure returns (bytes memory) {
        return which == 0 ? RuleBook.FEDAVG : RuleBook.MOMENTUM;
    }

    // ---------------------------------------------------------------------------------------------------------- Honest

    function test_nothing_is_wrong_with_what_the_rules_make() public {
        for (uint256 which = 0; which < 3; ++which) {
            this.soundEverywhere(which);
        }
    }

    /// @dev Called from outside, so that each begins with fresh memory.
    function soundEverywhere(uint256 which) external {
        World memory w = mixed(programs(which), which == 2);
        disputed(w);
        for (uint64 i = 0; i < 5; ++i) {
            refuses(versionCall(w, i), nothingWrong(Fault.Version));
            if (which != 0) refuses(stateCall(w, i), nothingWrong(Fault.State));
        }
        refuses(abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w))), nothingWrong(Fault.Roots));
        if (which == 0) {
            refuses(
                abi.encodeCall(
                    challenges.convictState, (targetOf(w), basisOf(w), beforeOf(w, 0), Trees.open(w.version, 0))
                ),
                abi.encodeWithSelector(IDisputed.NoState.selector)
            );
        }
    }

    // ---------------------------------------------------------------------------------- A program that reads everything

    /// @dev Two states of 6 and 2 at first, one fraction bit: s1' = q + contributions + total weight + total steps,
    /// s0' = step, and the step is s1' + s1.
    bytes internal constant EVERYTHING = hex"02" hex"ffffff0000000000" hex"0000010000000000" hex"0000000000000006"
        hex"ffffff0000000000" hex"0000010000000000" hex"0000000000000002" hex"010004" hex"010004" hex"010705"
        hex"010806" hex"010902" hex"0a0309";

    function everything(bool continued) internal view returns (World memory w) {
        w = honest(3, 21);
        w.book.program = EVERYTHING;
        int64[] memory states = new int64[](6);
        int64[] memory earlier = new int64[](6);
        for (uint64 i = 0; i < 3; ++i) {
            (earlier[2 * i], earlier[2 * i + 1]) = continued ? (int64(7), int64(4 + int64(i))) : (int64(6), int64(2));
            int256 s1 = meanAt(i) + 3 + 18 + 9;
            (states[2 * i], states[2 * i + 1]) = (continued ? int64(8) : int64(1), int64(s1));
            Trees.setValue(w.parent, i, Trees.float32(parentAt(i), 20));
            Trees.setValue(w.version, i, Trees.float32(4 * parentAt(i) + s1 + earlier[2 * i + 1], 22));
        }
        w.state = Trees.stateOf(states, 2);
        if (continued) w.stateBefore = Trees.stateOf(earlier, 2);
    }

    function soundWithStates(World memory w) internal {
        for (uint64 i = 0; i < 3; ++i) {
            refuses(versionCall(w, i), nothingWrong(Fault.Version));
            refuses(stateCall(w, i), nothingWrong(Fault.State));
        }
        refuses(
            abi.encodeCall(
                challenges.convictSize, (targetOf(w), basisOf(w), Tree.State, Trees.countedOf(w.state), nobody())
            ),
            nothingWrong(Fault.Size)
        );
        refuses(
            abi.encodeCall(
                challenges.convictChunk, (targetOf(w), basisOf(w), Tree.State, nobody(), 2, Trees.open(w.state, 0))
            ),
            nothingWrong(Fault.Chunk)
        );
    }

    function test_a_program_sees_its_states_and_the_scalars_of_the_round() public {
        for (uint256 i = 0; i < 2; ++i) {
            World memory w = everything(i == 1);
            disputed(w);
            soundWithStates(w);
        }
    }

    function test_a_state_of_another_layout_is_not_gone_on_with() public {
        World memory w = everything(false);
        w.stateBefore = Trees.stateOf(new int64[](6), 2);
        disputedAfter(w, "another", cairn.RULES().layoutOf(RuleBook.encode(w.book)));
        w.stateBefore.count = 0; // and none is opened
        soundWithStates(w);
    }

    function test_nobody_answers_for_the_chunks_of_a_parent_s_state() public {
        World memory w = everything(true);
        disputed(w);
        bytes memory reason = abi.encodeWithSelector(IChallenges.BadTree.selector, Tree.ParentState);
        Opening memory opening = Trees.open(w.stateBefore, 0);
        refuses(
            abi.encodeCall(
                challenges.convictChunk, (targetOf(w), basisOf(w), Tree.ParentState, nobody(), 0, opening)
            ),
            reason
        );
        refuses(
            abi.encodeCall(
                challenges.convictSize, (targetOf(w), basisOf(w), Tree.ParentState, opening.counted, nobody())
            ),
            nothingWrong(Fault.Size)
        );
    }

    // ------------------------------------------------------------------------------------------------------------ Lies

    function test_any_other_value_of_the_version_is_convicted(uint8 place, uint8 bit, uint8 which) public {
        World memory w = mixed(programs(which % 3), which % 3 == 2);
        uint64 coordinate = place % 5;
        uint32 bits;
        bytes memory chunk = w.version.data[0];
        for (uint256 i = 4; i > 0; --i) {
            bits = (bits << 8) | uint8(chunk[4 * coordinate + i - 1]);
        }
        Trees.setValue(w.version, coordinate, bits ^ uint32(1 << (bit % 32)));
        disputed(w);
        convicts(w, Fault.Version, Part.Values, 0, versionCall(w, coordinate));
    }

    function test_any_other_state_is_convicted(uint8 place, uint8 bit, bool continued) public {
        World memory w = mixed(RuleBook.MOMENTUM, continued);
        uint64 coordinate = place % 5;
        w.state.data[0][8 * coordinate + (bit % 64) / 8] ^= bytes1(uint8(1 << (bit % 8)));
        disputed(w);
        convicts(w, Fault.State, Part.Values, 0, stateCall(w, coordinate));
    }

    function test_a_buffer_that_took_the_programs_step_is_convicted() public {
        World memory w = mixed(RuleBook.MOMENTUM, false);
        Trees.setValue(w.version, 2, Trees.float32(parentAt(2) + meanAt(2) + 3, 20));
        disputed(w);
        convicts(w, Fault.Version, Part.Values, 0, versionCall(w, 2));
    }

    function test_a_variance_below_zero_is_convicted() public {
        World memory w = mixed(RuleBook.FEDAVG, false);
        check(meanAt(0) < 0, "the mean is negative");
        Trees.setValue(w.version, 0, Trees.float32(1 + 2 * meanAt(0), 20));
        disputed(w);
        convicts(w, Fault.Version, Part.Values, 0, versionCall(w, 0));
    }

    function test_an_overflow_saturates_and_infinity_is_convicted(bool infinite) public {
        World memory w = honest(3, 24);
        w.book.segments = RuleBook.segmentsOf(126, 3, SegmentKind.Parameter);
        for (uint256 i = 0; i < 3; ++i) {
            Trees.setValue(w.parent, i, i == 0 ? LARGEST : LARGEST | 1 << 31);
            Trees.setValue(w.aggregate, i, Trees.float32(i == 0 ? int256(1 << 24) : -(1 << 24), 24));
            Trees.setValue(w.version, i, i == 0 ? LARGEST : LARGEST | 1 << 31);
        }
        if (infinite) Trees.setValue(w.version, 0, 0x7f800000);
        dispute(w);
        if (infinite) convicts(w, Fault.Version, Part.Values, 0, versionCall(w, 0));
        else refuses(versionCall(w, 0), nothingWrong(Fault.Version));
        if (!infinite) refuses(versionCall(w, 1), nothingWrong(Fault.Version));
    }

    // ----------------------------------------------------------------------------------------------------------- Roots

    function test_roots_of_a_state_that_do_not_follow_are_convicted(uint8 field, bool continued) public {
        World memory w = mixed(RuleBook.MOMENTUM, continued);
        disputedBut(w, uint8(within(field, 0, 4)));
        convicts(
            w, Fault.Roots, Part.Whole, 0, abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w)))
        );
    }

    /// @dev As `disputed`, with one of the version's roots spoilt.
    function disputedBut(World memory w, uint8 field) private {
        disputed(w);
        expelAndSpoil(w, field);
    }

    function expelAndSpoil(World memory w, uint8 field) private {
        succeeds(CHALLENGER, abi.encodeCall(court.demandChunks, (targetOf(w), basisOf(w), Tree.State, nobody(), only(0))));
        forward(ANSWER);
        succeeds(
            CHALLENGER,
            abi.encodeCall(
                court.closeDemand, (modelId, current, stateDemandOf(w))
            )
        );
        expelTwo();
        w.result.versionDigest = "spoilt";
        if (field == 0) w.result.roots.rest = "another";
        if (field == 1) w.result.roots.state = 0;
        if (field == 2) w.result.roots.stateLayout = "another";
        if (field == 3) w.result.roots.step += 1;
        if (field == 4) w.result.roots.step -= 1;
        agreedByNew(w);
    }

    // --------------------------------------------------------------------------------------------------------- Segments

    function test_a_segment_that_is_not_the_coordinates_shows_nothing() public {
        World memory w = mixed(RuleBook.FEDAVG, false);
        disputed(w);
        for (uint64 other = 0; other < 5; ++other) {
            if (other == 2) continue;
            Before memory b = beforeOf(w, 2);
            b.segment = RuleBook.open(w.book.segments, other);
            refuses(versionCall(w, b, 2), abi.encodeWithSelector(IChallenges.BadSegment.selector, other, uint64(1)));
        }
    }

    function test_a_forged_segment_shows_nothing(uint8 field) public {
        World memory w = mixed(RuleBook.FEDAVG, false);
        disputed(w);
        Before memory b = beforeOf(w, 1);
        Segment memory s = b.segment;
        field = uint8(within(field, 0, 5));
        if (field == 0) s.length = 4;
        if (field == 1) s.exponent = 3;
        if (field == 2) s.kind = SegmentKind.Buffer;
        if (field == 3) s.first = 0;
        if (field == 4) s.index = 2;
        bytes32 root = Trees.rootOf(w.book.segments);
        bytes memory reason = badProof(root, s.index);
        if (field == 5) (s.counted.count, reason) = (6, badCount(root));
        refuses(versionCall(w, b, 1), reason);
    }

    function test_an_exponent_beyond_a_step_convicts_nobody() public {
        int16[2] memory beyond = [int16(128), -126];
        for (uint256 i = 0; i < 2; ++i) {
            World memory w = honest(3, 24);
            w.book.segments = RuleBook.segmentsOf(beyond[i], 3, SegmentKind.Parameter);
            dispute(w);
            refuses(
                versionCall(w, 0),
                abi.encodeWithSelector(IChallenges.BadExponent.selector, int256(beyond[i]) - 24)
            );
        }
    }

    // --------------------------------------------------------------------------------------------- Demands of a state

    function stateDemandOf(World memory w) internal view returns (Demanded memory) {
        return Demanded(roundId(current), tally(w), w.result.roots.state, 8, uint16(Trees.CHUNK / 2), 0);
    }

    function test_a_chunk_of_the_state_is_demanded_and_shown() public {
        World memory w = mixed(RuleBook.MOMENTUM, true);
        disputed(w);
        succeeds(CHALLENGER, abi.encodeCall(court.demandChunks, (targetOf(w), basisOf(w), Tree.State, nobody(), only(0))));
        Demanded memory d = stateDemandOf(w);
        Opening memory o = Trees.open(w.state, 0);
        succeeds(STRANGER, abi.encodeCall(court.showLeaf, (d, o)));
        check(court.demand(d).answered, "answered");
        succeeds(
            CHALLENGER,
            abi.encodeCall(court.demandChunks, (targetOf(w), basisOf(w), Tree.ParentState, nobody(), only(0)))
        );
        d.root = w.roots.state;
        succeeds(STRANGER, abi.encodeCall(court.showLeaf, (d, Trees.open(w.stateBefore, 0))));
    }

    function test_what_a_result_is_held_against_is_demanded_on_its_own_basis(uint8 which, bool ofRules) public {
        World memory w = mixed(RuleBook.MOMENTUM, true);
        disputed(w);
        Tree[3] memory trees = [Tree.Parent, Tree.State, Tree.ParentState];
        Basis memory other = basisOf(w);
        bytes32 expected = ofRules ? keccak256(other.rules) : keccak256(abi.encode(other.parent));
        if (ofRules) other.rules[4] ^= 0x01;
        else other.parent = Roots(other.parent.tensor, "another", w.roots.state, w.roots.stateLayout, 1);
        bytes32 given = ofRules ? keccak256(other.rules) : keccak256(abi.encode(other.parent));
        refuses(
            abi.encodeCall(court.demandChunks, (targetOf(w), other, trees[within(which, 0, 2)], nobody(), only(0))),
            abi.encodeWithSelector(IDisputed.OtherBasis.selector, given, expected)
        );
    }

    function test_a_state_that_is_not_there_is_neither_demanded_nor_counted() public {
        World memory w = mixed(RuleBook.MOMENTUM, false);
        disputed(w);
        refuses(
            abi.encodeCall(court.demandChunks, (targetOf(w), basisOf(w), Tree.ParentState, nobody(), only(0))),
            abi.encodeWithSelector(IDisputed.NoState.selector)
        );
        bytes memory reason = abi.encodeWithSelector(IDisputed.NoRoot.selector);
        expelAndSpoil(w, 1);
        refuses(
            abi.encodeCall(court.demandChunks, (targetOf(w), basisOf(w), Tree.State, nobody(), only(0))), reason
        );
        Counted memory nothing = Counted(0, 0);
        refuses(
            abi.encodeCall(challenges.convictSize, (targetOf(w), basisOf(w), Tree.State, nothing, nobody())), reason
        );
    }

    function test_a_state_of_another_size_or_chunk_is_convicted(bool whole) public {
        World memory w = mixed(RuleBook.MOMENTUM, false);
        Leaves memory longer = Trees.stateOf(new int64[](6), 1);
        if (whole) w.state = longer;
        else w.state.data[0] = new bytes(39);
        disputed(w);
        bytes memory call = whole
            ? abi.encodeCall(
                challenges.convictSize, (targetOf(w), basisOf(w), Tree.State, Trees.countedOf(w.state), nobody())
            )
            : abi.encodeCall(
                challenges.convictChunk,
                (targetOf(w), basisOf(w), Tree.State, nobody(), 0, Trees.open(w.state, 0))
            );
        convicts(w, whole ? Fault.Size : Fault.Chunk, whole ? Part.Whole : Part.Values, 0, call);
    }
}
