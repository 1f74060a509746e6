// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Commitment} from "../../interfaces/IChallenges.sol";
import {Part} from "../../interfaces/ICourt.sol";
import {HeadKind, Opening, Target, Tree} from "../../interfaces/IDisputed.sol";
import {World} from "../support/Disputes.sol";
import {Headed} from "../support/Headed.sol";
import {Leaves, Trees} from "../support/Trees.sol";

/// @notice Who takes part, each kind of lie, and what convicts it.
abstract contract Lies is Headed {
    uint256 internal constant VALUES = 2;
    uint256 internal constant BOND = 2 ether;
    bytes32 internal constant SALT = "salt";
    /// Kinds below HIDDEN are convicted by a challenge, HIDDEN by a demand that nobody can answer.
    uint256 internal constant HIDDEN = 14;
    uint256 internal constant KINDS = 15;

    address[2] internal honestOnes = [address(0xA1), address(0xA2)];
    address[2] internal liars = [address(0xB1), address(0xB2)];
    address[] public everyone = [address(0xA1), address(0xA2), address(0xB1), address(0xB2), CHALLENGER];
    uint256 internal _fresh;
    /// Of the honest version, or what makes a lie another one than all before it.
    bytes32 internal _digest;

    function setUp() public virtual override {
        super.setUp();
        bondGwei = uint64(BOND / 1 gwei);
        (answerDuration, lateDuration) = (ANSWER * 3 / 5, ANSWER * 2 / 5);
    }

    function soundWorld() internal view returns (World memory w) {
        w = honest(VALUES, 24);
        w.roots = rootsOf(Trees.rootOf(w.parent), REST);
        w.list = committed(w);
        settle(w);
        name(w);
    }

    function worldOf(uint256 kind, bytes32 digest) internal view returns (World memory w) {
        w = honest(VALUES, 24);
        w.roots = rootsOf(Trees.rootOf(w.parent), REST);
        w.list = committed(w);
        if (kind == 0) Trees.setValue(w.aggregate, 1, Trees.float32(meanAt(1) + 1, 24));
        if (kind == 1) Trees.setValue(w.version, 1, Trees.float32(parentAt(1) + meanAt(1) - 1, 24));
        if (kind == 4) (w.list[1], w.list[2]) = (w.list[2], w.list[1]);
        if (kind == 5) w.list[2].digest = "another";
        if (kind == 11) w.list[2].digest = w.list[0].digest;
        if (kind == 7) w.aggregate = honest(VALUES + 1, 24).aggregate;
        if (kind == 8) Trees.setValue(w.aggregate, 0, 1 << 31);
        if (kind == 9) (w.list[0].factor, w.list[1].factor) = (0, w.list[1].factor + w.list[0].factor);
        settle(w);
        if (kind == 10) w.result.totalSteps += 1;
        if (kind == 2) w.result.totalWeight += 1;
        if (kind == 3) w.result.contributions -= 1;
        if (kind == 6) w.result.roots.rest = "another";
        if (kind == HIDDEN) w.result.aggregateRoot = keccak256(abi.encode(digest));
        w.result.reportDigest = kind == 13 ? sha256(reportHead(w, current - 1)) : sha256(reportHead(w, current));
        w.result.versionDigest = digest;
        if (kind == 12) w.result.versionDigest = sha256(versionHead(w, current + 1, digest));
    }

    /// @dev The challenge that convicts a lie of this kind; of an honest world, one that convicts nobody.
    function conviction(World memory w, uint256 kind) internal view returns (bytes memory) {
        Target memory t = targetOf(w);
        if (kind == 0) {
            Opening memory o = Trees.open(w.aggregate, 0);
            return abi.encodeCall(challenges.convictAggregate, (t, basisOf(w), 1, zeros(), steps(w, 1, 0, 3), o));
        }
        if (kind == 1) {
            return abi.encodeCall(
                challenges.convictVersion, (t, basisOf(w), beforeAt(w, 1), Trees.open(w.version, 0))
            );
        }
        if (kind == 2 || kind == 10) return abi.encodeCall(challenges.convictTotal, (t, basisOf(w), zeros(), steps(w, NONE, 0, 3)));
        if (kind == 3) return abi.encodeCall(challenges.convictCount, (t, Trees.countedOf(Trees.listOf(w.list))));
        if (kind == 4) return abi.encodeCall(challenges.convictOrder, (t, member(w, 1), member(w, 2)));
        if (kind == 5) {
            Commitment[] memory all = commitmentsOf(committed(w), 0, 3);
            Opening memory o = Trees.open(Trees.listOf(w.list), 2);
            return abi.encodeCall(challenges.convictUncommitted, (t, 2, o, bytes32(0), all));
        }
        if (kind == 11) return abi.encodeCall(challenges.convictTwice, (t, member(w, 0), member(w, 2)));
        if (kind == 12) {
            bytes memory head = versionHead(w, current);
            if (sha256(head) != w.result.versionDigest) head = versionHead(w, current + 1, _digest);
            return headCall(t, HeadKind.Version, nobody(), head);
        }
        if (kind == 13) {
            bytes memory head = reportHead(w, current);
            if (sha256(head) != w.result.reportDigest) head = reportHead(w, current - 1);
            return headCall(t, HeadKind.Report, nobody(), head);
        }
        if (kind == 6) return abi.encodeCall(challenges.convictRoots, (t, basisOf(w)));
        if (kind == 7) return sizeCall(w, t);
        if (kind == 9) return abi.encodeCall(challenges.convictFactor, (t, basisOf(w), 1, Trees.open(Trees.listOf(w.list), 1)));
        Opening memory first = Trees.open(w.aggregate, 0);
        return abi.encodeCall(challenges.convictChunk, (t, basisOf(w), Tree.Aggregate, nobody(), 0, first));
    }

    function sizeCall(World memory w, Target memory t) private view returns (bytes memory) {
        return abi.encodeCall(
            challenges.convictSize, (t, basisOf(w), Tree.Aggregate, Trees.countedOf(w.aggregate), nobody())
        );
    }

    function additionOf(World memory w, uint256 count) internal view returns (bytes memory) {
        return abi.encodeCall(challenges.addContributions, (targetOf(w), basisOf(w), NONE, zeros(), steps(w, NONE, 0, count)));
    }

    function claimOfKind(World memory w, uint256 kind) internal view returns (bytes32) {
        return claimOf(w, kind == 0 || kind == 1 || kind == 8 ? Part.Values : Part.Whole, 0);
    }

    function blobIn(World memory w, Tree tree) internal pure returns (Leaves memory) {
        if (tree == Tree.Aggregate) return w.aggregate;
        if (tree == Tree.Version) return w.version;
        if (tree == Tree.Parent) return w.parent;
        // The one that is listed second: a lie may have swapped them.
        return Trees.rootOf(w.updates[1]) == w.list[1].tensorRoot ? w.updates[1] : w.updates[2];
    }
}
