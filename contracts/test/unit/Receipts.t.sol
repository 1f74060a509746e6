// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../../interfaces/IChallenges.sol";
import {Contribution, IDisputed, Membership, Target} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "../support/Disputes.sol";

contract ReceiptsTest is Disputes {
    function made() internal returns (World memory w, Target memory target) {
        w = honest(3, 24);
        target = dispute(w);
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, current, w.result);
    }

    function excludes(Target memory target, address participant, Membership[] memory neighbours)
        internal
        view
        returns (bool)
    {
        return challenges.isExcluded(target, participant, neighbours);
    }

    function one(Membership memory m) internal pure returns (Membership[] memory list) {
        list = new Membership[](1);
        list[0] = m;
    }

    function two(World memory w, uint256 left, uint256 right) internal pure returns (Membership[] memory list) {
        list = new Membership[](2);
        (list[0], list[1]) = (member(w, left), member(w, right));
    }

    function excludedCall(Target memory target, address participant, Membership[] memory neighbours)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.isExcluded, (target, participant, neighbours));
    }

    function below(address account) internal pure returns (address) {
        return address(uint160(account) - 1);
    }

    function above(address account) internal pure returns (address) {
        return address(uint160(account) + 1);
    }

    function test_receipts_revert_before_the_round_is_finalized_and_for_another_result() public {
        World memory w = honest(3, 24);
        Target memory target = dispute(w);
        bytes memory included = abi.encodeCall(challenges.isIncluded, (target, member(w, 0)));
        bytes memory excluded = excludedCall(target, below(participants[0]), one(member(w, 0)));
        bytes memory reason = abi.encodeWithSelector(IChallenges.NotFinalized.selector, modelId, current);
        refuses(included, reason);
        forward(CHALLENGE);
        refuses(included, reason);
        refuses(excluded, reason);
        cairn.finalizeRound(modelId, current, w.result);
        succeeds(STRANGER, included);
        succeeds(STRANGER, excluded);
        target.result.totalWeight += 1;
        refuses(abi.encodeCall(challenges.isIncluded, (target, member(w, 0))), reason);
        refuses(excludedCall(target, below(participants[0]), one(member(w, 0))), reason);
    }

    function test_isIncluded_says_so_of_everyone_in_the_list() public {
        (World memory w, Target memory target) = made();
        for (uint256 k = 0; k < 3; ++k) {
            check(challenges.isIncluded(target, member(w, k)), "included");
        }
    }

    function test_isIncluded_reverts_on_what_is_not_in_the_list() public {
        (World memory w, Target memory target) = made();
        for (uint256 field = 0; field < 5; ++field) {
            Membership memory m = member(w, 1);
            if (field == 0) m.contribution.participant = STRANGER;
            if (field == 1) m.contribution.digest = "another";
            if (field == 2) m.contribution.tensorRoot = "another";
            if (field == 3) m.contribution.weight += 1;
            if (field == 4) m.index = 2;
            refuses(abi.encodeCall(challenges.isIncluded, (target, m)), badProof(w.result.contributionsRoot, m.index));
        }
        Membership memory counted = member(w, 1);
        counted.counted.count = 4;
        refuses(
            abi.encodeCall(challenges.isIncluded, (target, counted)),
            abi.encodeWithSelector(IDisputed.BadCount.selector, w.result.contributionsRoot)
        );
    }

    function test_isExcluded_between_neighbours_before_the_first_and_after_the_last() public {
        (World memory w, Target memory target) = made();
        for (uint256 k = 0; k < 2; ++k) {
            check(excludes(target, above(participants[k]), two(w, k, k + 1)), "between");
            check(excludes(target, below(participants[k + 1]), two(w, k, k + 1)), "between");
        }
        check(excludes(target, below(participants[0]), one(member(w, 0))), "before the first");
        check(excludes(target, address(0), one(member(w, 0))), "the smallest");
        check(excludes(target, above(participants[2]), one(member(w, 2))), "after the last");
        check(excludes(target, address(type(uint160).max), one(member(w, 2))), "the largest");
    }

    function test_isExcluded_says_no_of_everyone_in_the_list_whatever_is_shown() public {
        (World memory w, Target memory target) = made();
        for (uint256 k = 0; k < 3; ++k) {
            for (uint256 i = 0; i < 3; ++i) {
                check(!excludes(target, participants[k], one(member(w, i))), "one neighbour");
                for (uint256 j = 0; j < 3; ++j) {
                    check(!excludes(target, participants[k], two(w, i, j)), "two neighbours");
                }
            }
        }
    }

    function test_isExcluded_says_no_where_the_neighbours_prove_nothing() public {
        (World memory w, Target memory target) = made();
        address absent = above(participants[0]);
        check(!excludes(target, absent, two(w, 0, 2)), "not neighbours");
        check(!excludes(target, absent, two(w, 1, 0)), "the wrong way round");
        check(!excludes(target, absent, two(w, 1, 2)), "elsewhere");
        check(!excludes(target, absent, two(w, 0, 0)), "the same");
        check(!excludes(target, absent, one(member(w, 0))), "one of the first, but after it");
        check(!excludes(target, absent, one(member(w, 1))), "one in the middle");
        check(!excludes(target, absent, one(member(w, 2))), "one of the last, but before it");
        check(!excludes(target, below(participants[0]), two(w, 0, 1)), "two, but before both");
    }

    function test_isExcluded_reverts_on_other_numbers_of_neighbours_and_on_forged_ones() public {
        (World memory w, Target memory target) = made();
        Membership[] memory three = new Membership[](3);
        for (uint256 k = 0; k < 3; ++k) {
            three[k] = member(w, k);
        }
        refuses(
            excludedCall(target, STRANGER, new Membership[](0)),
            abi.encodeWithSelector(IDisputed.BadLength.selector, uint256(0), 2)
        );
        refuses(excludedCall(target, STRANGER, three), abi.encodeWithSelector(IDisputed.BadLength.selector, 3, 2));
        Membership[] memory pair = two(w, 0, 1);
        pair[1].contribution.participant = address(type(uint160).max);
        refuses(excludedCall(target, above(participants[1]), pair), badProof(w.result.contributionsRoot, 1));
    }

    function test_isExcluded_with_a_single_contribution_is_first_and_last() public {
        World memory w = honest(3, 24);
        anchor(w);
        w.list = only(w);
        settle(w);
        w.result.contributions = 2; // the plan wants two; whether it is so is not asked here
        (w.result.totalWeight, w.result.divisor) = (10, 10);
        agreed(w);
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, current, w.result);
        Target memory target = targetOf(w);
        check(excludes(target, below(participants[1]), one(member(w, 0))), "before");
        check(excludes(target, above(participants[1]), one(member(w, 0))), "after");
        check(!excludes(target, participants[1], one(member(w, 0))), "itself");
    }

    function only(World memory w) internal pure returns (Contribution[] memory list) {
        list = new Contribution[](1);
        list[0] = w.list[1];
    }
}
