// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges, Step, Sum} from "../../interfaces/IChallenges.sol";
import {Contribution, Opening, Target} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "./Disputes.sol";
import {Leaves, Trees} from "./Trees.sol";

/// @notice Calls that add up contributions.
abstract contract Streaming is Disputes {
    /// @dev A round of five coordinates and a fourth participant too, in which the values of coordinate 2 are these, and each
    /// selected one has a factor of 1, the others of 0.
    function disputedOfFour(int256[4] memory v, int256 aggregate, bool[4] memory selected)
        internal
        returns (World memory w)
    {
        w = honest(5, 24);
        Leaves[] memory updates = new Leaves[](4);
        for (uint256 k = 0; k < 4; ++k) {
            updates[k] = k < 3 ? w.updates[k] : honest(5, 24).updates[0];
            Trees.setValue(updates[k], 2, Trees.float32(v[k], 24));
        }
        w.updates = updates;
        Trees.setValue(w.aggregate, 2, Trees.float32(aggregate, 24));
        enroll(w);
        address last = address(type(uint160).max);
        vm.startPrank(OWNER);
        cairn.grantRoles(modelId, last, P);
        current = cairn.openRound(modelId);
        vm.stopPrank();
        w.list = new Contribution[](4);
        for (uint256 k = 0; k < 4; ++k) {
            address who = k < 3 ? participants[k] : last;
            w.list[k] = Contribution(who, bytes32(k + 1), Trees.rootOf(updates[k]), 2, 1, selected[k] ? 1 : 0);
            vm.prank(who);
            cairn.commitUpdate(modelId, current, w.list[k].digest, w.list[k].tensorRoot, 2, 1);
        }
        forward(COMMIT + PUBLISH);
        settle(w);
        agreed(w);
    }

    function addCall(World memory w, uint64 coordinate, Sum memory progress, Step[] memory some)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.addContributions, (targetOf(w), basisOf(w), coordinate, progress, some));
    }

    function aggregateCall(World memory w, uint64 coordinate, Sum memory progress, Step[] memory some)
        internal
        view
        returns (bytes memory)
    {
        Target memory target = targetOf(w);
        Opening memory shown = Trees.openAt(w.aggregate, coordinate);
        return abi.encodeCall(
            challenges.convictAggregate, (target, basisOf(w), coordinate, progress, some, shown)
        );
    }

    function totalCall(World memory w, Sum memory progress, Step[] memory some) internal view returns (bytes memory) {
        return abi.encodeCall(challenges.convictTotal, (targetOf(w), basisOf(w), progress, some));
    }

    function badProgress(address challenger) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.BadProgress.selector, challenger);
    }

    function otherList(World memory w, Contribution[] memory given) internal pure returns (bytes memory) {
        bytes32 root = Trees.rootOf(Trees.listOf(given));
        return abi.encodeWithSelector(IChallenges.OtherList.selector, root, w.result.contributionsRoot);
    }
}
