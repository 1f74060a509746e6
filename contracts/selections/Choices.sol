// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {GramPart} from "../challenges/GramPart.sol";
import {Merkle} from "../challenges/Merkle.sol";
import {Dispute} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Fault} from "../interfaces/ICourt.sol";
import {Basis, Contribution, Target} from "../interfaces/IDisputed.sol";
import {ISelections, Selection} from "../interfaces/ISelections.sol";
import {Factors} from "./Factors.sol";
import {Gram} from "./Gram.sol";
import {Reported} from "./Reported.sol";

/// @title The selection, redone from the inner products of all pairs
abstract contract Choices is Reported {
    /// @inheritdoc ISelections
    function convictSelection(
        Target calldata target,
        Basis calldata basis,
        bytes calldata head,
        Selection calldata selection
    ) external {
        Dispute memory found = _openGram(target, basis, head);
        _requireList(target, selection.contributions);
        _requireLastRow(target, basis, head, selection);
        uint256 count = selection.contributions.length;
        int256[] memory products = Gram.read(selection.products, count);
        (uint256[] memory factors, uint256 divisor) = Factors.choose(basis.rules, found.roundId, found.runningHash, products);
        bool same = divisor == target.result.divisor;
        for (uint256 k = 0; same && k < count; ++k) {
            same = factors[k] == selection.contributions[k].factor;
        }
        if (same) revert IChallenges.NothingWrong(Fault.Selection);
        _convict(target, found, Fault.Selection);
    }

    /// @dev All contributions of the result, in order.
    function _requireList(Target calldata target, Contribution[] calldata list) private pure {
        uint32 expected = target.result.contributions;
        if (list.length != expected) revert BadLength(list.length, expected);
        bytes32[] memory peaks = new bytes32[](GramPart.MOST + 1);
        uint256 height = 0;
        for (uint256 k = 0; k < list.length; ++k) {
            height = Merkle.grow(peaks, height, k, _hashOf(list[k]));
        }
        bytes32 root = Merkle.countedRoot(uint64(list.length), Merkle.rootOf(peaks, height));
        if (root != target.result.contributionsRoot) {
            revert IChallenges.OtherList(root, target.result.contributionsRoot);
        }
    }

    /// @dev The last leaves of the tree, appended to what stands before them.
    function _requireLastRow(
        Target calldata target,
        Basis calldata basis,
        bytes calldata head,
        Selection calldata s
    ) private view {
        uint256 count = s.contributions.length;
        if (s.products.length != 32 * count * count) revert BadLength(s.products.length, 32 * count * count);
        uint64 numbers = _numbers(target, basis);
        uint256 leaves = numbers / count - count;
        uint256 height = 0;
        for (uint256 rest = leaves; rest != 0; rest &= rest - 1) {
            ++height;
        }
        if (s.peaks.length != height) revert BadLength(s.peaks.length, height);
        bytes32[] memory peaks = new bytes32[](height + 66);
        for (uint256 i = 0; i < height; ++i) {
            peaks[i] = s.peaks[i];
        }
        for (uint256 k = 0; k < count; ++k) {
            bytes32 leaf = Merkle.leafHash(s.products[32 * count * k:32 * count * (k + 1)]);
            height = Merkle.grow(peaks, height, leaves++, leaf);
        }
        bytes32 root = Merkle.countedRoot(numbers, Merkle.rootOf(peaks, height));
        bytes32 expected = GramPart.root(head);
        if (root != expected) revert IChallenges.OtherList(root, expected);
    }
}
