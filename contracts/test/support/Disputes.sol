// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, Plan, Result, RoundId, Roots, Standing} from "../../interfaces/ICairn.sol";
import {Before, Commitment, IChallenges, Step, Sum} from "../../interfaces/IChallenges.sol";
import {Conviction, Demanded, Fault, ICourt, Part} from "../../interfaces/ICourt.sol";
import {Basis, Contribution, IDisputed, Membership, Opening, Target, Tree} from "../../interfaces/IDisputed.sol";
import {ISelections} from "../../interfaces/ISelections.sol";
import {Base} from "./Base.sol";
import {Book, RuleBook} from "./RuleBook.sol";
import {Leaves, Trees} from "./Trees.sol";

/// @notice Everything that a round is made of.
struct World {
    uint8 gridBits;
    Leaves parent;
    Leaves[] updates;
    /// Of all three participants, ascending.
    Contribution[] list;
    Leaves aggregate;
    Leaves version;
    /// None under rules without state.
    Leaves stateBefore;
    Leaves state;
    Book book;
    /// Of the parent.
    Roots roots;
    Result result;
}

/// @notice A real model of three participants, whose round two aggregators attest. A test builds the round, spoils what
/// it is about, and anchors it.
abstract contract Disputes is Base {
    address internal constant CHALLENGER = address(0xC4A1);
    uint32[3] internal weights = [10, 7, 1];
    uint64 internal constant NONE = type(uint64).max;

    IChallenges internal challenges;
    ICourt internal court;
    ISelections internal selections;
    /// The round that is disputed.
    uint64 internal current = 1;
    uint64 internal bondGwei;
    uint32 internal demandPriceGwei;
    uint32 internal answerDuration = ANSWER;
    uint32 internal lateDuration;
    uint256 internal _models;

    function setUp() public virtual override {
        super.setUp();
        (challenges, court) = (cairn.CHALLENGES(), cairn.COURT());
        selections = court.SELECTIONS();
    }

    // --------------------------------------------------------------------------------------------------- Building rounds

    /// @dev A round as honest people make it. Values are small, so that version sums are exact and need no rounding.
    function honest(uint256 values, uint8 gridBits) internal view returns (World memory w) {
        w.gridBits = gridBits;
        w.updates = new Leaves[](3);
        uint32[] memory bits = new uint32[](values);
        for (uint256 k = 0; k < 3; ++k) {
            for (uint256 i = 0; i < values; ++i) {
                bits[i] = Trees.float32(updateAt(k, i), gridBits);
            }
            w.updates[k] = Trees.blobOf(bits);
        }
        for (uint256 i = 0; i < values; ++i) {
            bits[i] = Trees.float32(parentAt(i), gridBits);
        }
        w.parent = Trees.blobOf(bits);
        for (uint256 i = 0; i < values; ++i) {
            bits[i] = Trees.float32(meanAt(i), gridBits);
        }
        w.aggregate = Trees.blobOf(bits);
        for (uint256 i = 0; i < values; ++i) {
            bits[i] = Trees.float32(parentAt(i) + meanAt(i), gridBits);
        }
        w.version = Trees.blobOf(bits);
        w.book = RuleBook.simple(uint64(values), gridBits);
    }

    function updateAt(uint256 k, uint256 i) internal pure returns (int256) {
        return int256((i * 7919 + k * 104_729) % 4001) - 2000;
    }

    function parentAt(uint256 i) internal pure returns (int256) {
        return int256((i * 31_337) % 60_001) - 30_000;
    }

    /// @dev Rounded half to even, from the floor of twice the quotient.
    function meanAt(uint256 i) internal view returns (int256 mean) {
        int256 sum;
        int256 weight;
        for (uint256 k = 0; k < 3; ++k) {
            sum += int256(uint256(weights[k])) * updateAt(k, i);
            weight += int256(uint256(weights[k]));
        }
        int256 twice = 2 * sum + weight;
        mean = twice / (2 * weight);
        if (twice < 0 && twice % (2 * weight) != 0) --mean; // towards minus infinity
        if (twice % (2 * weight) == 0 && mean % 2 != 0) --mean; // a tie, that went up
    }

    /// @dev Registers a new model on the parent, commits the three updates, and moves to phase Aggregate. The result says
    /// what the blobs say.
    function anchor(World memory w) internal {
        enroll(w);
        begin(w);
    }

    function enroll(World memory w) internal {
        vm.startPrank(OWNER);
        w.roots = rootsOf(Trees.rootOf(w.parent), REST);
        modelId = cairn.registerModel(keccak256(abi.encode("parent", ++_models)), w.roots.tensor, w.roots.rest);
        cairn.setPlan(modelId, planOf(w), RuleBook.encode(w.book));
        for (uint256 k = 0; k < 3; ++k) {
            cairn.grantRoles(modelId, participants[k], P);
            cairn.grantRoles(modelId, aggregators[k], A);
        }
        vm.stopPrank();
    }

    function begin(World memory w) internal {
        vm.prank(OWNER);
        current = cairn.openRound(modelId);
        w.list = committed(w);
        for (uint256 k = 0; k < 3; ++k) {
            Contribution memory c = w.list[k];
            vm.prank(c.participant);
            cairn.commitUpdate(modelId, current, c.digest, c.tensorRoot, c.weight, c.steps);
        }
        forward(COMMIT + PUBLISH);
        settle(w);
    }

    /// @dev What the participants commit, ascending and in this order.
    function committed(World memory w) internal view returns (Contribution[] memory list) {
        list = new Contribution[](3);
        for (uint256 k = 0; k < 3; ++k) {
            list[k] = undigested(w, k);
            list[k].digest = digestOf(list[k]);
        }
    }

    function undigested(World memory w, uint256 k) internal view returns (Contribution memory) {
        bytes32 root = Trees.rootOf(w.updates[k]);
        return Contribution(participants[k], 0, root, weights[k], uint32(k + 2), weights[k]);
    }

    /// @dev Nobody knows what hashes to this.
    function digestOf(Contribution memory c) internal view virtual returns (bytes32) {
        return bytes32(uint256(uint160(c.participant)));
    }

    /// @dev Entries first..last-1 of a list, as they would be committed.
    function commitmentsOf(Contribution[] memory list, uint256 first, uint256 last)
        internal
        pure
        returns (Commitment[] memory found)
    {
        found = new Commitment[](last - first);
        for (uint256 k = first; k < last; ++k) {
            Contribution memory c = list[k];
            found[k - first] = Commitment(c.participant, c.digest, c.tensorRoot, c.weight, c.steps);
        }
    }

    function extendedBy(bytes32 running, Commitment[] memory some) internal pure returns (bytes32) {
        for (uint256 k = 0; k < some.length; ++k) {
            Commitment memory c = some[k];
            running = extended(running, c.participant, c.digest, c.tensorRoot, c.weight, c.steps);
        }
        return running;
    }

    function planOf(World memory w) internal view virtual returns (Plan memory plan) {
        plan = somePlan();
        plan.rulesHash = keccak256(RuleBook.encode(w.book));
        (plan.bondGwei, plan.demandPriceGwei) = (bondGwei, demandPriceGwei);
        (plan.answerDuration, plan.lateDuration) = (answerDuration, lateDuration);
    }

    /// @dev The result that the blobs and the list give now.
    function settle(World memory w) internal pure {
        (uint32 weight, uint64 steps_, uint32 factor) = (0, 0, 0);
        for (uint256 k = 0; k < w.list.length; ++k) {
            weight += w.list[k].weight;
            steps_ += w.list[k].steps;
            factor += w.list[k].factor;
        }
        w.result = Result({
            versionDigest: "version",
            roots: rootsOf(Trees.rootOf(w.version), w.roots.rest),
            reportDigest: "report",
            aggregateRoot: Trees.rootOf(w.aggregate),
            contributionsRoot: Trees.rootOf(Trees.listOf(w.list)),
            contributions: uint32(w.list.length),
            totalWeight: weight,
            totalSteps: steps_,
            divisor: factor
        });
    }

    function agreed(World memory w) internal {
        agree(current, w.result);
    }

    /// @dev The ordinary case: the blobs as they are now, agreed by two.
    function dispute(World memory w) internal virtual returns (Target memory) {
        anchor(w);
        agreed(w);
        return targetOf(w);
    }

    /// @dev The two who attest, without the role, and without what they attested.
    function expelTwo() internal {
        address[] memory two = new address[](2);
        (two[0], two[1]) = (aggregators[0], aggregators[1]);
        same(cairn.expel(modelId, current, two), 2, "expelled");
    }

    /// @dev The same two, granted the role anew, agree on this.
    function agreedByNew(World memory w) internal {
        vm.startPrank(OWNER);
        cairn.grantRoles(modelId, aggregators[0], A);
        cairn.grantRoles(modelId, aggregators[1], A);
        vm.stopPrank();
        agreed(w);
    }

    // ---------------------------------------------------------------------------------------------------------- Openings

    function targetOf(World memory w) internal view returns (Target memory) {
        return Target(modelId, current, w.result);
    }

    function basisOf(World memory w) internal pure returns (Basis memory) {
        return Basis(RuleBook.encode(w.book), w.roots);
    }

    /// @dev What a coordinate is computed from, opened.
    function beforeAt(World memory w, uint64 coordinate) internal pure returns (Before memory b) {
        b.coordinate = coordinate;
        b.segment = RuleBook.open(w.book.segments, coordinate);
        b.parent = Trees.openAt(w.parent, coordinate);
        b.aggregate = Trees.openAt(w.aggregate, coordinate);
    }

    function member(World memory w, uint256 index) internal pure returns (Membership memory) {
        return Trees.memberOf(w.list, index);
    }

    function nobody() internal pure returns (Membership memory none) {}

    function zeros() internal pure returns (Sum memory) {}

    /// @dev Steps first..last-1, with the chunk of a coordinate, or none for all ones.
    function steps(World memory w, uint64 coordinate, uint256 first, uint256 last)
        internal
        pure
        returns (Step[] memory found)
    {
        found = new Step[](last - first);
        for (uint256 i = 0; i < found.length; ++i) {
            found[i].contribution = w.list[first + i];
            if (coordinate != NONE) found[i].chunk = Trees.openAt(w.updates[first + i], coordinate);
        }
    }

    /// @dev What the contract's progress must be after the first `next` contributions.
    function sumOf(World memory w, uint64 coordinate, uint256 next) internal pure returns (Sum memory s) {
        s.next = uint32(next);
        for (uint256 k = 0; k < next; ++k) {
            s.weight += w.list[k].weight;
            s.steps += w.list[k].steps;
            s.factor += w.list[k].factor;
            if (coordinate != NONE) s.sum += int256(uint256(w.list[k].factor)) * updateAt(k, coordinate);
        }
        bytes32[] memory hashes = Trees.hashesOf(Trees.listOf(w.list).data);
        bytes32[] memory peaks = new bytes32[](32);
        uint256 height;
        uint256 begin;
        for (uint256 size = 1 << 31; size != 0; size /= 2) {
            if (next & size == 0) continue;
            peaks[height++] = Trees.rootOf(hashes, begin, begin + size);
            begin += size;
        }
        s.peaks = new bytes32[](height);
        for (uint256 i = 0; i < height; ++i) {
            s.peaks[i] = peaks[i];
        }
    }

    function demandedOf(World memory w, bytes32 root, bool contributions, uint64 index)
        internal
        view
        returns (Demanded memory)
    {
        (uint16 bytes_, uint16 entries) = contributions ? (uint16(192), uint16(1)) : (uint16(4), uint16(Trees.CHUNK));
        return Demanded(roundId(current), tally(w), root, bytes_, entries, index);
    }

    function only(uint64 index) internal pure returns (uint64[] memory indices) {
        indices = new uint64[](1);
        indices[0] = index;
    }

    function tally(World memory w) internal view returns (bytes32) {
        return cairn.tallyOf(modelId, current, hashOf(w.result));
    }

    function claimOf(World memory w, Part part, uint64 index) internal view returns (bytes32) {
        return keccak256(abi.encode(roundId(current), tally(w), part, uint256(index)));
    }

    // ------------------------------------------------------------------------------------------------------------ Claims

    /// @dev Hashing is a call to a precompile: arguments are made before anything is expected of the next call.
    function refuses(bytes memory call, bytes memory reason) internal {
        refuses(STRANGER, 0, call, reason);
    }

    function refuses(address caller, uint256 value, bytes memory call, bytes memory reason) internal {
        vm.prank(caller);
        (bool done, bytes memory answer) = homeOf(call).call{value: value}(call);
        check(!done, "refused");
        same(keccak256(answer), keccak256(reason), "for the reason expected");
    }

    /// @dev The contract that has the function of a call.
    function homeOf(bytes memory call) internal view returns (address) {
        bytes4[5] memory ofSelections = [
            ISelections.convictReport.selector,
            ISelections.convictFinest.selector,
            ISelections.convictGramSize.selector,
            ISelections.convictProduct.selector,
            ISelections.convictSelection.selector
        ];
        for (uint256 i = 0; i < ofSelections.length; ++i) {
            if (bytes4(call) == ofSelections[i]) return address(selections);
        }
        bytes4[16] memory ofCourt = [
            ICourt.sealClaim.selector,
            ICourt.revealClaim.selector,
            ICourt.collectReward.selector,
            ICourt.depositBond.selector,
            ICourt.releaseBond.selector,
            ICourt.withdraw.selector,
            ICourt.lockBond.selector,
            ICourt.slashBond.selector,
            ICourt.demandChunks.selector,
            ICourt.demandContributions.selector,
            ICourt.demandHead.selector,
            ICourt.demandGram.selector,
            ICourt.showLeaf.selector,
            ICourt.showLeaves.selector,
            ICourt.showLate.selector,
            ICourt.closeDemand.selector
        ];
        for (uint256 i = 0; i < ofCourt.length; ++i) {
            if (bytes4(call) == ofCourt[i]) return address(court);
        }
        return call.length < 4 ? address(court) : address(challenges);
    }

    function succeeds(address caller, bytes memory call) internal {
        succeeds(caller, 0, call);
    }

    function succeeds(address caller, uint256 value, bytes memory call) internal {
        vm.prank(caller);
        (bool done, bytes memory answer) = homeOf(call).call{value: value}(call);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    /// @dev The call convicts the result of this, and makes it void.
    function convicts(World memory w, Fault fault, Part part, uint64 index, bytes memory call) internal {
        (RoundId id, bytes32 held) = (roundId(current), tally(w));
        bytes32 claim = claimOf(w, part, index);
        Standing verdict = fault == Fault.Unanswered ? Standing.Unanswered : Standing.Convicted;
        expectEvent(address(court));
        emit ICourt.ResultConvicted(id, held, CHALLENGER, fault, claim, uint40(time()) + CHALLENGE);
        expectEvent(address(cairn));
        emit ICairn.ResultVoided(id, hashOf(w.result), held, verdict, uint40(time()) + AGGREGATE);
        succeeds(CHALLENGER, call);
        same(uint256(cairn.standing(modelId, current, held)), uint256(verdict), "standing");
        same(cairn.dispute(modelId, current).tally, 0, "no window is open");
        Conviction memory made = court.conviction(id, held);
        same(uint256(made.fault), uint256(fault), "fault");
        same(made.claim, claim, "claim");
    }

    function nothingWrong(Fault fault) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IChallenges.NothingWrong.selector, fault);
    }

    function badProof(bytes32 root, uint64 index) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputed.BadProof.selector, root, index);
    }

    function badCount(bytes32 root) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputed.BadCount.selector, root);
    }

    function badIndex(uint64 index, uint64 count) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IDisputed.BadIndex.selector, index, count);
    }
}
