// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId, Plan} from "../../interfaces/ICairn.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {Contribution, Counted, IDisputed, Membership, Opening, Target, Tree} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "../support/Disputes.sol";
import {Leaves, Trees} from "../support/Trees.sol";

contract ConvictionsTest is Disputes {
    uint16 internal combineRule = 1;
    uint16 internal serverRule = 1;

    function planOf(World memory w) internal view override returns (Plan memory plan) {
        plan = super.planOf(w);
        (plan.combineRule, plan.serverRule) = (combineRule, serverRule);
    }

    function notDisputed(Target memory target) internal pure returns (bytes memory) {
        return
            abi.encodeWithSelector(
                IDisputed.NotDisputed.selector, target.modelId, target.number, hashOf(target.result)
            );
    }

    function sizeOf(Leaves memory blob) internal pure returns (Counted memory) {
        return Trees.countedOf(blob);
    }

    // ----------------------------------------------------------------------------------------------------------- Calls

    function countCall(Target memory target, Counted memory counted) internal view returns (bytes memory) {
        return abi.encodeCall(challenges.convictCount, (target, counted));
    }

    function orderCall(Target memory target, Membership memory left, Membership memory right)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.convictOrder, (target, left, right));
    }

    function rootCall(Target memory target) internal view returns (bytes memory) {
        return abi.encodeCall(challenges.convictRoot, (target));
    }

    function sizeCall(Target memory target, Counted memory left, Tree tree, Counted memory right, Membership memory m)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.convictSize, (target, left, tree, right, m));
    }

    function chunkCall(Target memory target, Tree tree, Membership memory m, uint64 coordinate, Opening memory opening)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.convictChunk, (target, tree, m, coordinate, opening));
    }

    // --------------------------------------------------------------------------------------------- The result in window

    function test_a_challenge_reverts_outside_the_window() public {
        World memory w = honest(5, 24);
        anchor(w);
        Target memory target = targetOf(w);
        refuses(rootCall(target), notDisputed(target));
        agreed(w);
        forward(CHALLENGE - 1);
        refuses(rootCall(target), nothingWrong(Fault.Root));
        forward(1);
        refuses(rootCall(target), notDisputed(target));
    }

    function test_a_challenge_reverts_on_another_result(uint8 field) public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        field = uint8(within(field, 0, 8));
        if (field == 0) target.result.versionDigest = "another";
        if (field == 1) target.result.versionRoot = 0;
        if (field == 2) target.result.reportDigest = "another";
        if (field == 3) target.result.aggregateRoot = "another";
        if (field == 4) target.result.contributionsRoot = "another";
        if (field == 5) target.result.contributions += 1;
        if (field == 6) target.result.totalWeight += 1;
        if (field == 7) target.number += 1;
        if (field == 8) target.modelId = ModelId.wrap("another");
        refuses(rootCall(target), notDisputed(target));
    }

    function test_challenges_of_arithmetic_revert_under_other_rules() public {
        (combineRule, serverRule) = (2, 1);
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Opening memory none;
        Counted memory size = sizeOf(w.aggregate);
        bytes memory refused = refusesRule(2, 1);
        refuses(rootCall(target), refused);
        refuses(sizeCall(target, size, Tree.Contribution, size, nobody()), refused);
        refuses(chunkCall(target, Tree.Aggregate, nobody(), 0, none), refused);
        refuses(abi.encodeCall(challenges.convictVersion, (target, 0, none, none, none)), refused);
    }

    function test_challenges_of_the_version_revert_under_another_server_rule() public {
        (combineRule, serverRule) = (1, 2);
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Opening memory none;
        Counted memory size = sizeOf(w.aggregate);
        bytes memory refused = refusesRule(1, 2);
        refuses(rootCall(target), refused);
        refuses(sizeCall(target, size, Tree.Version, size, nobody()), refused);
        refuses(sizeCall(target, size, Tree.Parent, size, nobody()), refused);
        refuses(chunkCall(target, Tree.Version, nobody(), 0, none), refused);
        refuses(abi.encodeCall(challenges.convictVersion, (target, 0, none, none, none)), refused);
        // What the aggregate is made of is still held against it.
        refuses(chunkCall(target, Tree.Aggregate, nobody(), 0, Trees.openAt(w.aggregate, 0)), nothingWrong(Fault.Chunk));
    }

    function test_the_list_is_held_against_the_result_under_every_rule() public {
        (combineRule, serverRule) = (7, 8);
        World memory w = honest(5, 24);
        anchor(w);
        w.result.contributions += 1;
        agreed(w);
        convicts(w, Fault.Count, Part.Whole, 0, countCall(targetOf(w), sizeOf(Trees.listOf(w.list))));
    }

    // ---------------------------------------------------------------------------------------------------- convictCount

    function test_convictCount_reverts_on_the_right_count() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Counted memory size = sizeOf(Trees.listOf(w.list));
        refuses(countCall(target, size), nothingWrong(Fault.Count));
        size.count = 4;
        refuses(countCall(target, size), badCount(w.result.contributionsRoot));
        (size.count, size.inner) = (3, "inner");
        refuses(countCall(target, size), badCount(w.result.contributionsRoot));
    }

    function test_convictCount_convicts_another_count() public {
        World memory w = honest(5, 24);
        anchor(w);
        w.result.contributions = 2;
        agreed(w);
        convicts(w, Fault.Count, Part.Whole, 0, countCall(targetOf(w), sizeOf(Trees.listOf(w.list))));
    }

    // ---------------------------------------------------------------------------------------------------- convictOrder

    function test_convictOrder_reverts_on_an_ascending_list() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        for (uint256 i = 0; i < 2; ++i) {
            refuses(orderCall(target, member(w, i), member(w, i + 1)), nothingWrong(Fault.Order));
        }
    }

    function test_convictOrder_reverts_on_what_are_no_neighbours() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        uint8[2][5] memory pairs = [[1, 0], [0, 2], [2, 1], [1, 1], [2, 0]];
        for (uint256 i = 0; i < pairs.length; ++i) {
            refuses(
                orderCall(target, member(w, pairs[i][0]), member(w, pairs[i][1])), badIndex(pairs[i][0], pairs[i][1])
            );
        }
    }

    function test_convictOrder_reverts_on_what_is_not_in_the_list() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Membership memory forged = member(w, 1);
        forged.contribution.participant = STRANGER;
        refuses(orderCall(target, member(w, 0), forged), badProof(w.result.contributionsRoot, 1));
        forged.index = 0;
        refuses(orderCall(target, forged, member(w, 1)), badProof(w.result.contributionsRoot, 0));
        forged = member(w, 1);
        forged.counted.count = 2;
        refuses(orderCall(target, member(w, 0), forged), badCount(w.result.contributionsRoot));
    }

    function test_convictOrder_convicts_a_descent_and_a_repetition(bool repeated) public {
        World memory w = honest(5, 24);
        anchor(w);
        if (repeated) w.list[2] = w.list[1];
        else (w.list[1], w.list[2]) = (w.list[2], w.list[1]);
        settle(w);
        agreed(w);
        Target memory target = targetOf(w);
        refuses(orderCall(target, member(w, 0), member(w, 1)), nothingWrong(Fault.Order));
        convicts(w, Fault.Order, Part.Whole, 0, orderCall(target, member(w, 1), member(w, 2)));
    }

    // ----------------------------------------------------------------------------------------------------- convictRoot

    function test_convictRoot_convicts_a_version_that_lost_its_root() public {
        World memory w = honest(5, 24);
        anchor(w);
        w.result.versionRoot = 0;
        agreed(w);
        convicts(w, Fault.Root, Part.Whole, 0, rootCall(targetOf(w)));
    }

    function test_convictRoot_reverts_where_neither_has_a_root() public {
        World memory w = honest(5, 24);
        modelId = rootless(w);
        w.result.versionRoot = 0;
        agreed(w);
        Target memory target = targetOf(w);
        refuses(rootCall(target), nothingWrong(Fault.Root));
    }

    function test_convictRoot_convicts_a_root_out_of_nothing() public {
        World memory w = honest(5, 24);
        modelId = rootless(w);
        agreed(w);
        convicts(w, Fault.Root, Part.Whole, 0, rootCall(targetOf(w)));
    }

    /// @dev A model whose genesis has no tensor root, at the point where results are attested.
    function rootless(World memory w) internal returns (ModelId other) {
        anchor(w);
        vm.startPrank(OWNER);
        other = cairn.registerModel("rootless", 0);
        cairn.setPlan(other, planOf(w));
        for (uint256 k = 0; k < 3; ++k) {
            cairn.grantRoles(other, aggregators[k], A);
        }
        cairn.openRound(other);
        vm.stopPrank();
        forward(COMMIT + PUBLISH);
    }

    // ----------------------------------------------------------------------------------------------------- convictSize

    function test_convictSize_reverts_on_equal_sizes() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Counted memory size = sizeOf(w.aggregate);
        Counted[4] memory others = [size, sizeOf(w.version), sizeOf(w.parent), sizeOf(w.updates[1])];
        for (uint256 i = 0; i < 4; ++i) {
            refuses(sizeCall(target, size, Tree(i), others[i], member(w, 1)), nothingWrong(Fault.Size));
        }
    }

    function test_convictSize_reverts_on_counts_that_are_not_the_roots() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Counted memory size = sizeOf(w.aggregate);
        Counted memory other = Counted(6, size.inner);
        refuses(sizeCall(target, other, Tree.Version, sizeOf(w.version), nobody()), badCount(w.result.aggregateRoot));
        refuses(sizeCall(target, size, Tree.Version, size, nobody()), badCount(w.result.versionRoot));
        refuses(sizeCall(target, size, Tree.Parent, size, nobody()), badCount(Trees.rootOf(w.parent)));
        refuses(sizeCall(target, size, Tree.Contribution, size, member(w, 2)), badCount(w.list[2].tensorRoot));
        Membership memory forged = member(w, 2);
        forged.contribution.tensorRoot = w.result.aggregateRoot;
        refuses(sizeCall(target, size, Tree.Contribution, size, forged), badProof(w.result.contributionsRoot, 2));
    }

    function test_convictSize_reverts_where_there_is_no_root() public {
        World memory w = honest(5, 24);
        anchor(w);
        w.result.versionRoot = 0;
        agreed(w);
        Target memory target = targetOf(w);
        refuses(
            sizeCall(target, sizeOf(w.aggregate), Tree.Version, sizeOf(w.version), nobody()),
            abi.encodeWithSelector(IDisputed.NoRoot.selector)
        );
    }

    function test_convictSize_convicts_each_blob_of_another_size(uint8 which) public {
        World memory w = honest(5, 24);
        Tree tree = Tree(within(which, 1, 3));
        Leaves memory shorter = honest(4, 24).version;
        if (tree == Tree.Version) w.version = shorter;
        if (tree == Tree.Parent) w.parent = shorter;
        if (tree == Tree.Contribution) w.updates[1] = shorter;
        Target memory target = dispute(w);
        convicts(
            w, Fault.Size, Part.Whole, 0, sizeCall(target, sizeOf(w.aggregate), tree, sizeOf(shorter), member(w, 1))
        );
    }
}
