// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId, Plan, Roots} from "../../interfaces/ICairn.sol";
import {Shape} from "../../interfaces/IRules.sol";
import {IChallenges} from "../../interfaces/IChallenges.sol";
import {Fault, Part} from "../../interfaces/ICourt.sol";
import {Basis, Contribution, Counted, IDisputed, Membership, Opening, Target, Tree} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "../support/Disputes.sol";
import {Leaves, Trees} from "../support/Trees.sol";

contract ConvictionsTest is Disputes {
    uint16 internal combineRule = 1;
    bool internal uniform;

    function planOf(World memory w) internal view override returns (Plan memory) {
        (w.book.combineRule, w.book.uniform) = (combineRule, uniform);
        w.book.shape = combineRule == 1 ? Shape.Fold : Shape.Select;
        return super.planOf(w);
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

    function rootsCall(World memory w, Target memory target) internal view returns (bytes memory) {
        return abi.encodeCall(challenges.convictRoots, (target, basisOf(w)));
    }

    function sizeCall(World memory w, Tree tree, Counted memory counted, Membership memory m)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.convictSize, (targetOf(w), basisOf(w), tree, counted, m));
    }

    // --------------------------------------------------------------------------------------------- The result in window

    function test_a_challenge_reverts_outside_the_window() public {
        World memory w = honest(5, 24);
        anchor(w);
        Target memory target = targetOf(w);
        refuses(rootsCall(w, target), notDisputed(target));
        agreed(w);
        forward(CHALLENGE - 1);
        refuses(rootsCall(w, target), nothingWrong(Fault.Roots));
        forward(1);
        refuses(rootsCall(w, target), notDisputed(target));
    }

    function test_a_challenge_reverts_on_another_result(uint8 field) public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        field = uint8(within(field, 0, 10));
        if (field == 0) target.result.versionDigest = "another";
        if (field == 1) target.result.roots.tensor = "another";
        if (field == 2) target.result.reportDigest = "another";
        if (field == 3) target.result.aggregateRoot = "another";
        if (field == 4) target.result.contributionsRoot = "another";
        if (field == 5) target.result.contributions += 1;
        if (field == 6) target.result.totalWeight += 1;
        if (field == 7) target.number += 1;
        if (field == 8) target.modelId = ModelId.wrap("another");
        if (field == 9) target.result.totalSteps += 1;
        if (field == 10) target.result.divisor -= 1;
        refuses(rootsCall(w, target), notDisputed(target));
    }

    function test_a_challenge_reverts_on_another_basis(uint8 field) public {
        World memory w = honest(5, 24);
        dispute(w);
        Basis memory basis = basisOf(w);
        field = uint8(within(field, 0, 5));
        if (field == 5) basis.rules[4] ^= 0x01;
        Roots memory r = Roots(w.roots.tensor, w.roots.rest, w.roots.state, w.roots.stateLayout, w.roots.step);
        basis.parent = r;
        if (field == 0) r.tensor = "another";
        if (field == 1) r.rest = "another";
        if (field == 2) r.state = "another";
        if (field == 3) r.stateLayout = "another";
        if (field == 4) r.step = 1;
        bytes memory reason = field == 5
            ? abi.encodeWithSelector(
                IDisputed.OtherBasis.selector, keccak256(basis.rules), keccak256(basisOf(w).rules)
            )
            : abi.encodeWithSelector(IDisputed.OtherBasis.selector, hashOf(r), hashOf(w.roots));
        refuses(abi.encodeCall(challenges.convictRoots, (targetOf(w), basis)), reason);
    }

    function test_the_list_is_held_against_the_result_under_every_rule() public {
        combineRule = 7;
        World memory w = honest(5, 24);
        anchor(w);
        w.result.contributions -= 1;
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

    // --------------------------------------------------------------------------------------------------- convictFactor

    function factorCall(World memory w, Leaves memory list, uint64 index) internal view returns (bytes memory) {
        return abi.encodeCall(challenges.convictFactor, (targetOf(w), basisOf(w), index, Trees.open(list, index)));
    }

    function test_convictFactor_of_a_mean_convicts_every_factor_but_the_weight(uint32 factor, uint8 which) public {
        World memory w = honest(5, 24);
        anchor(w);
        uint64 k = which % 3;
        if (factor == w.list[k].weight) ++factor;
        w.list[k].factor = factor;
        (uint32 total, uint32 divisor) = (18, 18);
        w.result.contributionsRoot = Trees.rootOf(Trees.listOf(w.list));
        (w.result.totalWeight, w.result.divisor) = (total, divisor);
        agreed(w);
        uint64 other = (k + 1) % 3;
        refuses(factorCall(w, Trees.listOf(w.list), other), nothingWrong(Fault.Factor));
        convicts(w, Fault.Factor, Part.Whole, 0, factorCall(w, Trees.listOf(w.list), k));
    }

    function test_convictFactor_convicts_every_factor_but_one_where_each_counts_once(uint32 factor) public {
        uniform = true;
        World memory w = honest(5, 24);
        anchor(w);
        (w.list[0].factor, w.list[1].factor, w.list[2].factor) = (1, w.list[1].weight, factor == 1 ? 0 : factor);
        w.result.contributionsRoot = Trees.rootOf(Trees.listOf(w.list));
        agreed(w);
        refuses(factorCall(w, Trees.listOf(w.list), 0), nothingWrong(Fault.Factor));
        convicts(w, Fault.Factor, Part.Whole, 0, factorCall(w, Trees.listOf(w.list), 1 + factor % 2));
    }

    function test_convictFactor_under_other_rules_convicts_more_than_the_weight_alone() public {
        combineRule = 9;
        World memory w = honest(5, 24);
        anchor(w);
        (w.list[0].factor, w.list[1].factor, w.list[2].factor) = (0, 7, 2);
        settle(w);
        agreed(w);
        refuses(factorCall(w, Trees.listOf(w.list), 0), nothingWrong(Fault.Factor));
        refuses(factorCall(w, Trees.listOf(w.list), 1), nothingWrong(Fault.Factor));
        convicts(w, Fault.Factor, Part.Whole, 0, factorCall(w, Trees.listOf(w.list), 2));
    }

    function test_convictFactor_under_other_rules_convicts_more_than_a_share_where_each_counts_once(uint32 more) public {
        combineRule = 9;
        uniform = true;
        World memory w = honest(5, 24);
        anchor(w);
        more = uint32(within(more, (1 << 16) + 1, type(uint32).max));
        (w.list[0].factor, w.list[1].factor, w.list[2].factor) = (0, 1 << 16, more);
        w.result.contributionsRoot = Trees.rootOf(Trees.listOf(w.list));
        agreed(w);
        refuses(factorCall(w, Trees.listOf(w.list), 0), nothingWrong(Fault.Factor));
        refuses(factorCall(w, Trees.listOf(w.list), 1), nothingWrong(Fault.Factor));
        convicts(w, Fault.Factor, Part.Whole, 0, factorCall(w, Trees.listOf(w.list), 2));
    }

    function test_convictFactor_convicts_a_factor_that_fits_into_no_field() public {
        World memory w = honest(5, 24);
        anchor(w);
        Leaves memory list = Trees.listOf(w.list);
        list.data[2][160] = 0x01; // the low bits still say the weight
        w.result.contributionsRoot = Trees.rootOf(list);
        agreed(w);
        convicts(w, Fault.Factor, Part.Whole, 0, factorCall(w, list, 2));
    }

    function test_convictFactor_reverts_on_what_is_no_contribution_of_the_list() public {
        World memory w = honest(5, 24);
        anchor(w);
        Leaves memory list = Trees.listOf(w.list);
        list.data[2] = new bytes(160);
        w.result.contributionsRoot = Trees.rootOf(list);
        agreed(w);
        Target memory target = targetOf(w);
        // Cut short, it is no contribution: that nobody committed it convicts.
        refuses(factorCall(w, list, 2), abi.encodeWithSelector(IDisputed.BadLength.selector, 160, 192));
        bytes32 root = target.result.contributionsRoot;
        Opening memory o = Trees.open(list, 1);
        refuses(abi.encodeCall(challenges.convictFactor, (target, basisOf(w), 0, o)), badProof(root, 0));
        o.leaf[191] ^= 0x01;
        refuses(abi.encodeCall(challenges.convictFactor, (target, basisOf(w), 1, o)), badProof(root, 1));
        o.counted.count = 4;
        refuses(abi.encodeCall(challenges.convictFactor, (target, basisOf(w), 1, o)), badCount(root));
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

    // ---------------------------------------------------------------------------------------------------- convictRoots

    function test_convictRoots_reverts_on_roots_that_follow() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        refuses(rootsCall(w, target), nothingWrong(Fault.Roots));
    }

    function test_convictRoots_convicts_what_does_not_follow_from_the_parent(uint8 field) public {
        World memory w = honest(5, 24);
        anchor(w);
        field = uint8(within(field, 0, 3));
        if (field == 0) w.result.roots.rest = "another";
        if (field == 1) w.result.roots.state = "without a rule that keeps one";
        if (field == 2) w.result.roots.stateLayout = "of nothing";
        if (field == 3) w.result.roots.step = 1;
        agreed(w);
        convicts(w, Fault.Roots, Part.Whole, 0, rootsCall(w, targetOf(w)));
    }

    // ----------------------------------------------------------------------------------------------------- convictSize

    function test_convictSize_reverts_on_the_right_sizes() public {
        World memory w = honest(5, 24);
        dispute(w);
        Counted memory size = sizeOf(w.aggregate);
        Counted[4] memory others = [size, sizeOf(w.version), sizeOf(w.parent), sizeOf(w.updates[1])];
        for (uint256 i = 0; i < 4; ++i) {
            refuses(sizeCall(w, Tree(i), others[i], member(w, 1)), nothingWrong(Fault.Size));
        }
    }

    function test_convictSize_reverts_on_counts_that_are_not_the_roots() public {
        World memory w = honest(5, 24);
        dispute(w);
        Counted memory size = sizeOf(w.aggregate);
        Counted memory other = Counted(6, size.inner);
        refuses(sizeCall(w, Tree.Aggregate, other, nobody()), badCount(w.result.aggregateRoot));
        refuses(sizeCall(w, Tree.Version, size, nobody()), badCount(w.result.roots.tensor));
        refuses(sizeCall(w, Tree.Parent, size, nobody()), badCount(Trees.rootOf(w.parent)));
        refuses(sizeCall(w, Tree.Contribution, size, member(w, 2)), badCount(w.list[2].tensorRoot));
        Membership memory forged = member(w, 2);
        forged.contribution.tensorRoot = w.result.aggregateRoot;
        refuses(sizeCall(w, Tree.Contribution, size, forged), badProof(w.result.contributionsRoot, 2));
    }

    function test_convictSize_of_a_state_reverts_where_the_rules_keep_none() public {
        World memory w = honest(5, 24);
        dispute(w);
        Counted memory size = sizeOf(w.aggregate);
        refuses(sizeCall(w, Tree.State, size, nobody()), abi.encodeWithSelector(IDisputed.NoState.selector));
        refuses(
            sizeCall(w, Tree.ParentState, size, nobody()),
            abi.encodeWithSelector(IChallenges.BadTree.selector, Tree.ParentState)
        );
    }

    function test_convictSize_convicts_each_blob_of_another_size(uint8 which) public {
        World memory w = honest(5, 24);
        Tree tree = Tree(within(which, 0, 3));
        Leaves memory shorter = honest(4, 24).version;
        if (tree == Tree.Aggregate) w.aggregate = shorter;
        if (tree == Tree.Version) w.version = shorter;
        if (tree == Tree.Parent) w.parent = shorter;
        if (tree == Tree.Contribution) w.updates[1] = shorter;
        dispute(w);
        convicts(w, Fault.Size, Part.Whole, 0, sizeCall(w, tree, sizeOf(shorter), member(w, 1)));
    }
}
