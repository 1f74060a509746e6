// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges, Step, Sum} from "../../interfaces/IChallenges.sol";
import {Contribution, Opening, Target} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "./Disputes.sol";
import {Trees} from "./Trees.sol";

/// @notice Calls that add up contributions.
abstract contract Streaming is Disputes {
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
