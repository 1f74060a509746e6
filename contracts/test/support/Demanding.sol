// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Demanded, ICourt} from "../../interfaces/ICourt.sol";
import {Opening, Tree} from "../../interfaces/IDisputed.sol";
import {Disputes, World} from "./Disputes.sol";
import {Trees} from "./Trees.sol";

/// @notice Demands, answers, and what follows where there is none.
abstract contract Demanding is Disputes {
    function setUp() public virtual override {
        super.setUp();
        vm.deal(CHALLENGER, 100 ether);
    }

    /// @dev Of contributions it is the one at index 1.
    function chunkCall(World memory w, Tree tree, uint64 index) internal view returns (bytes memory) {
        return chunksCall(w, tree, only(index));
    }

    function chunksCall(World memory w, Tree tree, uint64[] memory indices) internal view returns (bytes memory) {
        return abi.encodeCall(court.demandChunks, (targetOf(w), basisOf(w), tree, member(w, 1), indices));
    }

    function listCall(World memory w, uint64 index) internal view returns (bytes memory) {
        return abi.encodeCall(court.demandContributions, (targetOf(w), only(index)));
    }

    function showCall(Demanded memory d, Opening memory opening) internal view returns (bytes memory) {
        return abi.encodeCall(court.showLeaf, (d, opening));
    }

    function lateCall(Demanded memory d, Opening memory opening, address[] memory attesters)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(court.showLate, (modelId, current, d, opening, attesters));
    }

    function pair(address one, address other) internal pure returns (address[] memory list) {
        list = new address[](2);
        (list[0], list[1]) = (one, other);
    }

    function closeCall(Demanded memory d) internal view returns (bytes memory) {
        return abi.encodeCall(court.closeDemand, (modelId, current, d));
    }

    function rootIn(World memory w, Tree tree) internal pure returns (bytes32) {
        if (tree == Tree.Aggregate) return w.result.aggregateRoot;
        if (tree == Tree.Version) return w.result.roots.tensor;
        if (tree == Tree.Parent) return Trees.rootOf(w.parent);
        return w.list[1].tensorRoot;
    }

    function notDemanded(Demanded memory d) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ICourt.NotDemanded.selector, d.root, d.index);
    }

    /// @dev A demand for the version's first chunk, which nobody answers.
    function unanswered(World memory w) internal returns (Demanded memory d) {
        succeeds(CHALLENGER, chunkCall(w, Tree.Version, 0));
        d = demandedOf(w, w.result.roots.tensor, false, 0);
        forward(ANSWER);
        succeeds(CHALLENGER, closeCall(d));
    }
}
