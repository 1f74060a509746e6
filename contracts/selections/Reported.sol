// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Disputed} from "../challenges/Disputed.sol";
import {GramPart} from "../challenges/GramPart.sol";
import {Merkle} from "../challenges/Merkle.sol";
import {Dispute} from "../interfaces/ICairn.sol";
import {IChallenges, Segment, SegmentKind} from "../interfaces/IChallenges.sol";
import {Fault, Finding, ICourt, Part} from "../interfaces/ICourt.sol";
import {Basis, Counted, Target} from "../interfaces/IDisputed.sol";
import {ISelections} from "../interfaces/ISelections.sol";
import {RuleBytes} from "../rules/RuleBytes.sol";

/// @title The Gram part of a report: whether it is there, its size and its unit
abstract contract Reported is Disputed, ISelections {
    /// @dev Names no segment.
    uint256 internal constant NO_SEGMENT = type(uint64).max;

    /// @inheritdoc ISelections
    // slither-disable-next-line naming-convention
    ICourt public immutable COURT;

    /// @inheritdoc ISelections
    function convictReport(Target calldata target, Basis calldata basis, bytes calldata head) external {
        Dispute memory found = _openHead(target, basis, head);
        bool asked = GramPart.isAsked(basis.rules, target.result.contributions);
        if (GramPart.fits(head, asked) && !(asked && GramPart.root(head) == 0)) revert IChallenges.NothingWrong(Fault.Gram);
        _convict(target, found, Fault.Gram);
    }

    /// @inheritdoc ISelections
    function convictFinest(
        Target calldata target,
        Basis calldata basis,
        bytes calldata head,
        Segment calldata claimed,
        Segment calldata finer
    ) external {
        Dispute memory found = _openGram(target, basis, head);
        bytes32 segments = RuleBytes.segments(basis.rules);
        _requireSegment(finer, segments);
        uint256 named = GramPart.finest(head);
        bool right = false;
        if (named == NO_SEGMENT) {
            right = finer.kind != SegmentKind.Parameter;
        } else if (named < finer.counted.count) {
            if (claimed.index != named) revert BadIndex(claimed.index, uint64(named));
            _requireSegment(claimed, segments);
            right = claimed.kind == SegmentKind.Parameter
                && (finer.kind != SegmentKind.Parameter || finer.exponent >= claimed.exponent);
        }
        if (right) revert IChallenges.NothingWrong(Fault.Gram);
        _convict(target, found, Fault.Gram);
    }

    /// @inheritdoc ISelections
    function convictGramSize(Target calldata target, Basis calldata basis, bytes calldata head, Counted calldata counted)
        external
    {
        Dispute memory found = _openGram(target, basis, head);
        _requireCounted(counted, GramPart.root(head));
        if (counted.count == _numbers(target, basis)) revert IChallenges.NothingWrong(Fault.Size);
        _convict(target, found, Fault.Size);
    }

    /// @dev The result in its window, what it is held against, and the bytes of its report's head.
    function _openHead(Target calldata target, Basis calldata basis, bytes calldata head)
        internal
        view
        returns (Dispute memory found)
    {
        found = _openOn(target, basis);
        bytes32 given = sha256(head);
        bytes32 digest = target.result.reportDigest;
        if (given != digest) revert IChallenges.OtherHead(given, digest);
    }

    /// @dev The same, of a report that is to have the Gram part and has one.
    function _openGram(Target calldata target, Basis calldata basis, bytes calldata head)
        internal
        view
        returns (Dispute memory found)
    {
        found = _openHead(target, basis, head);
        bool asked = GramPart.isAsked(basis.rules, target.result.contributions);
        if (!asked || !GramPart.fits(head, true)) revert NoGramPart();
    }

    /// @dev How many the tree of inner products counts.
    function _numbers(Target calldata target, Basis calldata basis) internal pure returns (uint64) {
        uint64 count = target.result.contributions;
        return GramPart.rows(basis.rules) * count * count;
    }

    function _requireSegment(Segment calldata s, bytes32 root) internal pure {
        _requireCounted(s.counted, root);
        bytes32 leaf = sha256(abi.encodePacked(bytes1(0), s.first, s.length, s.exponent, s.kind));
        if (!Merkle.includes(leaf, s.index, s.counted.count, s.proof, s.counted.inner)) revert BadProof(root, s.index);
    }

    function _convict(Target calldata target, Dispute memory found, Fault fault) internal {
        COURT.convict(
            Finding({
                modelId: target.modelId,
                number: target.number,
                roundId: found.roundId,
                tally: found.tally,
                challengeDuration: found.challengeDuration,
                challenger: msg.sender,
                fault: fault,
                part: Part.Whole,
                index: 0
            })
        );
    }
}
