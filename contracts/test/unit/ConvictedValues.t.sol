// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Before, IChallenges} from "../../interfaces/IChallenges.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {IDisputed, Membership, Opening, Tree} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "../support/Disputes.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Chunks and what stands in them.
contract ConvictedValuesTest is Disputes {
    uint32 internal constant SIGN = 1 << 31;

    function chunkCall(World memory w, Tree tree, Membership memory m, uint64 coordinate, Opening memory opening)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.convictChunk, (targetOf(w), basisOf(w), tree, m, coordinate, opening));
    }

    // ---------------------------------------------------------------------------------------------------- convictChunk

    function test_convictChunk_reverts_on_every_sound_chunk() public {
        World memory w = honest(2500, 24);
        dispute(w);
        uint16[6] memory coordinates = [0, 255, 256, 511, 512, 2499];
        for (uint256 i = 0; i < coordinates.length; ++i) {
            uint64 place = coordinates[i];
            refuses(
                chunkCall(w, Tree.Aggregate, nobody(), place, Trees.openAt(w.aggregate, place)),
                nothingWrong(Fault.Chunk)
            );
            refuses(
                chunkCall(w, Tree.Version, nobody(), place, Trees.openAt(w.version, place)),
                nothingWrong(Fault.Chunk)
            );
            refuses(
                chunkCall(w, Tree.Contribution, member(w, 2), place, Trees.openAt(w.updates[2], place)),
                nothingWrong(Fault.Chunk)
            );
        }
    }

    function test_convictChunk_reverts_for_the_parent() public {
        World memory w = honest(5, 24);
        Trees.setValue(w.parent, 0, 0x7fc00000);
        dispute(w);
        refuses(
            chunkCall(w, Tree.Parent, nobody(), 0, Trees.openAt(w.parent, 0)),
            abi.encodeWithSelector(IChallenges.BadTree.selector, Tree.Parent)
        );
    }

    function test_convictChunk_reverts_past_the_end() public {
        World memory w = honest(2500, 24);
        dispute(w);
        refuses(chunkCall(w, Tree.Aggregate, nobody(), 2500, Trees.open(w.aggregate, 9)), badIndex(2500, 2500));
        refuses(
            chunkCall(w, Tree.Aggregate, nobody(), 2560, Trees.open(w.aggregate, 9)),
            badProof(w.result.aggregateRoot, 10)
        );
    }

    function test_convictChunk_reverts_on_a_chunk_of_another_place_or_blob() public {
        World memory w = honest(2500, 24);
        dispute(w);
        refuses(
            chunkCall(w, Tree.Aggregate, nobody(), 256, Trees.open(w.aggregate, 0)),
            badProof(w.result.aggregateRoot, 1)
        );
        refuses(
            chunkCall(w, Tree.Aggregate, nobody(), 0, Trees.open(w.version, 0)), badCount(w.result.aggregateRoot)
        );
        Opening memory forged = Trees.open(w.aggregate, 0);
        forged.leaf[17] ^= 0x01;
        refuses(chunkCall(w, Tree.Aggregate, nobody(), 0, forged), badProof(w.result.aggregateRoot, 0));
        Membership memory wrong = member(w, 0);
        wrong.index = 1;
        refuses(chunkCall(w, Tree.Contribution, wrong, 0, forged), badProof(w.result.contributionsRoot, 1));
    }

    function test_convictChunk_convicts_wrong_lengths() public {
        Tree[3] memory trees = [Tree.Aggregate, Tree.Version, Tree.Contribution];
        for (uint256 how = 0; how < 6; ++how) {
            this.convictsLength(trees[(how / 2) % 3], uint64(how % 3), how);
            this.convictsLength(trees[(how / 2 + 1) % 3], uint64((how + 1) % 3), how);
        }
    }

    /// @dev Called from outside, so that each begins with fresh memory.
    function convictsLength(Tree tree, uint64 index, uint256 how) external {
        World memory w = honest(2100, 24);
        Leaves memory blob = tree == Tree.Aggregate ? w.aggregate : tree == Tree.Version ? w.version : w.updates[0];
        uint256 length = blob.data[index].length;
        uint256[6] memory lengths = [0, 1, length - 4, length - 1, length + 1, length + 4];
        blob.data[index] = new bytes(lengths[how]);
        dispute(w);
        bytes memory call = chunkCall(w, tree, member(w, 0), index * 256 + 255, Trees.open(blob, index));
        convicts(w, Fault.Chunk, Part.Values, index, call);
    }

    function test_convictChunk_convicts_what_no_update_may_hold() public {
        uint8[3] memory grids = [0, 24, 126];
        for (uint256 i = 0; i < 3; ++i) {
            uint32 one = Trees.float32(1, grids[i]);
            uint32 end = Trees.float32(1 << 24, grids[i]);
            // -0.0, less than a step, a subnormal, infinite, no number, just beyond the grid, a finer step
            uint32[7] memory bad = [SIGN, one - 1, 1, 0x7f800000, 0xffc00001, end + 1, one + 1];
            for (uint256 j = 0; j < 7; ++j) {
                this.convictsValue(grids[i], bad[j], j % 2 == 0);
            }
        }
    }

    function convictsValue(uint8 gridBits, uint32 bits, bool contributed) external {
        World memory w = honest(9, gridBits);
        Leaves memory blob = contributed ? w.updates[2] : w.aggregate;
        Trees.setValue(blob, 7, bits);
        dispute(w);
        Tree tree = contributed ? Tree.Contribution : Tree.Aggregate;
        refuses(chunkCall(w, tree, member(w, 2), 8, Trees.open(blob, 0)), nothingWrong(Fault.Chunk));
        convicts(w, Fault.Chunk, Part.Values, 0, chunkCall(w, tree, member(w, 2), 7, Trees.open(blob, 0)));
    }

    // -------------------------------------------------------------------------------------------------- convictVersion

    function versionCall(World memory w, Before memory before, Opening memory version)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.convictVersion, (targetOf(w), basisOf(w), before, version));
    }

    function againstVersion(World memory w, uint64 coordinate) internal view returns (bytes memory) {
        return versionCall(w, beforeAt(w, coordinate), Trees.openAt(w.version, coordinate));
    }

    function test_convictVersion_reverts_on_every_right_value() public {
        uint8[3] memory grids = [0, 24, 126];
        for (uint256 i = 0; i < 3; ++i) {
            World memory w = honest(2500, grids[i]);
            dispute(w);
            uint16[6] memory coordinates = [0, 1, 255, 256, 512, 2499];
            for (uint256 j = 0; j < 6; ++j) {
                refuses(againstVersion(w, coordinates[j]), nothingWrong(Fault.Version));
            }
        }
    }

    function test_convictVersion_convicts_every_other_value(uint8 place, uint8 bit, uint8 gridBits) public {
        World memory w = honest(7, [0, 24, 126][gridBits % 3]);
        uint64 coordinate = place % 7;
        uint32 bits = Trees.float32(parentAt(coordinate) + meanAt(coordinate), w.gridBits);
        Trees.setValue(w.version, coordinate, bits ^ uint32(1 << (bit % 32)));
        dispute(w);
        convicts(w, Fault.Version, Part.Values, 0, againstVersion(w, coordinate));
    }

    function test_convictVersion_convicts_in_every_chunk() public {
        uint16[4] memory coordinates = [255, 256, 511, 2499];
        for (uint256 i = 0; i < 4; ++i) {
            World memory w = honest(2500, 24);
            Trees.setValue(w.version, coordinates[i], 0x7fc00000);
            dispute(w);
            refuses(againstVersion(w, coordinates[i] - 1), nothingWrong(Fault.Version));
            convicts(w, Fault.Version, Part.Values, coordinates[i] / 256, againstVersion(w, coordinates[i]));
        }
    }

    function test_convictVersion_knows_that_a_sum_of_zeros_is_positive_zero() public {
        World memory w = honest(3, 24);
        Trees.setValue(w.parent, 1, SIGN);
        Trees.setValue(w.aggregate, 1, 0);
        Trees.setValue(w.version, 1, SIGN);
        dispute(w);
        convicts(w, Fault.Version, Part.Values, 0, againstVersion(w, 1));
    }

    function test_convictVersion_reverts_where_the_parent_is_not_finite() public {
        World memory w = honest(3, 24);
        Trees.setValue(w.parent, 0, 0x7f800000);
        Trees.setValue(w.parent, 1, 0xffc00000);
        dispute(w);
        for (uint64 i = 0; i < 2; ++i) {
            refuses(againstVersion(w, i), abi.encodeWithSelector(IChallenges.NotFinite.selector, i));
        }
    }

    function test_convictVersion_leaves_a_value_off_the_grid_to_convictChunk() public {
        World memory w = honest(3, 24);
        Trees.setValue(w.aggregate, 2, SIGN);
        dispute(w);
        refuses(againstVersion(w, 2), abi.encodeWithSelector(IChallenges.NotOnGrid.selector, 2));
    }

    function test_convictVersion_reverts_past_the_end() public {
        World memory w = honest(2500, 24);
        dispute(w);
        Before memory before = beforeAt(w, 2499);
        before.coordinate = 2500;
        bytes memory reason = abi.encodeWithSelector(IChallenges.BadSegment.selector, uint64(0), 2500);
        refuses(versionCall(w, before, Trees.open(w.version, 2)), reason);
    }

    function test_convictVersion_reverts_on_openings_of_other_blobs() public {
        World memory w = honest(5, 24);
        dispute(w);
        bytes32[3] memory roots = [Trees.rootOf(w.parent), w.result.aggregateRoot, w.result.roots.tensor];
        for (uint256 i = 0; i < 3; ++i) {
            Opening[3] memory o = [Trees.open(w.parent, 0), Trees.open(w.aggregate, 0), Trees.open(w.version, 0)];
            o[i].leaf = new bytes(20);
            refuses(openedCall(w, o), badProof(roots[i], 0));
            o[i] = Trees.open(w.updates[0], 0);
            refuses(openedCall(w, o), badCount(roots[i]));
        }
    }

    function openedCall(World memory w, Opening[3] memory o) internal view returns (bytes memory) {
        Before memory before = beforeAt(w, 0);
        (before.parent, before.aggregate) = (o[0], o[1]);
        return versionCall(w, before, o[2]);
    }

    function test_convictVersion_leaves_a_wrong_length_to_convictChunk() public {
        World memory w = honest(2500, 24);
        w.version.data[1] = new bytes(1020);
        dispute(w);
        refuses(againstVersion(w, 256), abi.encodeWithSelector(IDisputed.BadLength.selector, 1020, 1024));
    }
}
