// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {ModelId, Phase, Plan, Result, Round, Roots} from "../../interfaces/ICairn.sol";
import {Deploy} from "../support/Deploy.sol";
import {RuleBook} from "../support/RuleBook.sol";
import {Test} from "../support/Test.sol";

/// @notice Plays everybody around one model, only with moves that are allowed, so that no move may revert; keeps its own
/// log of what happened. Moves that are not allowed at the time do nothing.
contract Handler is Test {
    struct Entry {
        address participant;
        bytes32 digest;
        bytes32 tensorRoot;
        uint32 weight;
        uint32 steps;
    }

    uint256 internal constant PEOPLE = 4;
    uint8 internal constant P = 1;
    uint8 internal constant A = 2;

    Cairn public immutable cairn;
    ModelId public immutable modelId;

    /// Ascending; anyone may come to hold any role.
    address[] public people;
    mapping(uint64 number => Entry[]) internal _log;
    mapping(uint64 number => bytes32) public seedOf;
    mapping(uint64 number => bytes32[]) internal _attested;
    /// What a round and its version looked like when the round was finalized.
    mapping(uint64 number => bytes32) public sealedRound;
    bytes32[] public versions;
    mapping(bytes32 digest => bytes32) public sealedVersion;
    uint256 internal _counter;

    constructor() {
        cairn = Deploy.cairn();
        modelId = cairn.registerModel("genesis", "root", "rest");
        _known("genesis");
        for (uint160 i = 1; i <= PEOPLE; ++i) {
            people.push(address(i * 0x1111));
            cairn.grantRoles(modelId, people[i - 1], P | A);
        }
        setPlan(1);
    }

    // ----------------------------------------------------------------------------------------------------------- Moves

    function pass(uint256 seconds_) external {
        forward(within(seconds_, 1, 60));
    }

    /// @notice The next step of an ordinary round, so that short runs get through several.
    function advance(uint256 seed) external {
        uint64 number = rounds();
        Phase phase = cairn.phase(modelId, number);
        Round memory round = cairn.round(modelId, number);
        if (isEnded(number)) {
            openRound();
        } else if (phase == Phase.Commit) {
            commitEveryone();
            if (seed % 2 == 0) endCommits();
            else vm.warp(round.commitDeadline);
        } else if (phase == Phase.Challenge) {
            vm.warp(round.challengeDeadline);
        } else if (phase == Phase.Final) {
            finalizeRound();
        } else if (!_attestable(number)) {
            vm.warp(phase == Phase.Publish ? round.publishDeadline : round.aggregateDeadline);
        } else {
            for (uint256 i = 0; i < PEOPLE; ++i) {
                attest(i, seed >> (8 * i));
            }
        }
    }

    function setPlan(uint256 seed) public {
        Plan memory plan = Plan({
            digest: _fresh(),
            rulesHash: keccak256(rules()),
            quorum: uint16(within(seed, 1, 3)),
            weightCap: 100,
            minContributions: uint32(within(seed >> 8, 1, 2)),
            commitDuration: 60,
            publishDuration: 30,
            aggregateDuration: 90,
            challengeDuration: 960,
            answerDuration: 30,
            bondGwei: 0,
            demandPriceGwei: 0,
            lateDuration: 0,
            enoughCommitments: seed >> 16 & 1 == 0 ? 0 : 2,
            leastCommitDuration: seed >> 16 & 1 == 0 ? 0 : 30,
            hooks: new address[](0)
        });
        cairn.setPlan(modelId, plan, rules());
    }

    function rules() public pure returns (bytes memory) {
        return RuleBook.encode(RuleBook.simple(1, 24));
    }

    function grant(uint256 who, uint8 roles) external {
        cairn.grantRoles(modelId, _one(who), uint8(within(roles, 1, 15)));
    }

    function revoke(uint256 who, uint8 roles) external {
        cairn.revokeRoles(modelId, _one(who), uint8(within(roles, 1, 15)));
    }

    function openRound() public {
        if (!isEnded(rounds())) return;
        Plan memory plan = cairn.plan(modelId, cairn.model(modelId).plans - 1);
        bytes32 parent = cairn.model(modelId).head;
        uint64 number = cairn.openRound(modelId);
        seedOf[number] = _counted(
            keccak256(abi.encode(cairn.roundIdOf(modelId, number), parent, keccak256(abi.encode(plan)))), 0
        );
    }

    function commit(uint256 who, uint32 weight) external {
        address participant = _one(who);
        uint64 number = rounds();
        if (cairn.phase(modelId, number) != Phase.Commit || !_holds(participant, P)) return;
        bool again = committed(number, participant) != 0;
        Entry memory entry = Entry(participant, _fresh(), _fresh(), uint32(within(weight, 1, 100)), uint32(within(weight, 1, 1 << 20)));
        if (again) vm.expectRevert();
        vm.prank(participant);
        cairn.commitUpdate(modelId, number, entry.digest, entry.tensorRoot, entry.weight, entry.steps);
        if (!again) _log[number].push(entry);
    }

    function commitEveryone() public {
        uint64 number = rounds();
        if (cairn.phase(modelId, number) != Phase.Commit) return;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            if (!_holds(people[i], P) || committed(number, people[i]) != 0) continue;
            Entry memory entry = Entry(people[i], _fresh(), _fresh(), 1, 1);
            vm.prank(people[i]);
            cairn.commitUpdate(modelId, number, entry.digest, entry.tensorRoot, entry.weight, entry.steps);
            _log[number].push(entry);
        }
    }

    function endCommits() public {
        uint64 number = rounds();
        if (cairn.phase(modelId, number) != Phase.Commit) return;
        address[] memory list = new address[](cairn.model(modelId).participants);
        uint256 found;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            if (!_holds(people[i], P)) continue;
            if (committed(number, people[i]) == 0) return;
            list[found++] = people[i];
        }
        if (found == 0) return;
        cairn.endCommits(modelId, number, list);
    }

    function endCommitsWithEnough(uint256 elapsed) external {
        uint64 number = rounds();
        if (cairn.phase(modelId, number) != Phase.Commit) return;
        Round memory round = cairn.round(modelId, number);
        Plan memory plan = cairn.plan(modelId, round.planIndex);
        elapsed = within(elapsed, 0, round.commitDeadline - 1 - time());
        vm.warp(time() + elapsed);
        bool may = plan.enoughCommitments != 0 && round.commitments >= plan.enoughCommitments
            && time() >= round.commitDeadline - plan.commitDuration + plan.leastCommitDuration;
        if (!may) vm.expectRevert();
        cairn.endCommits(modelId, number, new address[](0));
    }

    function attest(uint256 who, uint256 which) public {
        address aggregator = _one(who);
        uint64 number = rounds();
        if (!_attestable(number) || !_holds(aggregator, A)) return;
        Result memory result = resultOf(number, which % 3);
        bytes32 resultHash = keccak256(abi.encode(result));
        bytes32 current = cairn.attestation(modelId, number, aggregator);
        // All results of a round have as many contributions here, so the smaller hash is the better one.
        if (current != 0 && resultHash >= current) return;
        bytes32 runningHash = cairn.round(modelId, number).runningHash;
        vm.prank(aggregator);
        cairn.attestResult(modelId, number, result, runningHash);
        _attested[number].push(resultHash);
    }

    function finalizeRound() public {
        uint64 number = rounds();
        if (cairn.phase(modelId, number) != Phase.Final || cairn.round(modelId, number).finalized) return;
        bytes32 agreed = cairn.round(modelId, number).resultHash;
        for (uint256 i = 0; i < 3; ++i) {
            Result memory result = resultOf(number, i);
            if (keccak256(abi.encode(result)) != agreed) continue;
            cairn.finalizeRound(modelId, number, result);
            _known(result.versionDigest);
        }
        sealedRound[number] = keccak256(abi.encode(cairn.round(modelId, number)));
    }

    function cancelRound() external {
        uint64 number = rounds();
        if (number == 0) return;
        Round memory round = cairn.round(modelId, number);
        if (round.cancelled || round.finalized) return;
        if (round.attested && cairn.phase(modelId, number) != Phase.Cancelled) return;
        // Now and then only, or no round would live.
        if (++_counter % 4 == 0) cairn.cancelRound(modelId, number);
    }

    function publishVersion(uint256 parent) external {
        if (!isEnded(rounds())) return;
        bytes32 digest = _fresh();
        cairn.publishVersion(modelId, versions[parent % versions.length], digest, _fresh(), _fresh());
        _known(digest);
    }

    function deprecateVersion(uint256 which, uint256 replacement) external {
        bytes32 digest = versions[which % versions.length];
        bytes32 next = versions[replacement % versions.length];
        bool isHead = cairn.model(modelId).head == digest;
        if (cairn.version(modelId, digest).deprecated) return;
        if (isHead && (next == digest || cairn.version(modelId, next).deprecated || !isEnded(rounds()))) return;
        cairn.deprecateVersion(modelId, digest, "reason", isHead ? next : bytes32(0));
    }

    // ----------------------------------------------------------------------------------------------------------- Reads

    function rounds() public view returns (uint64) {
        return cairn.model(modelId).rounds;
    }

    function isEnded(uint64 number) public view returns (bool) {
        return number == 0 || cairn.round(modelId, number).finalized
            || cairn.phase(modelId, number) == Phase.Cancelled;
    }

    /// @notice How often an account stands in the log of a round.
    function committed(uint64 number, address participant) public view returns (uint256 times) {
        for (uint256 i = 0; i < _log[number].length; ++i) {
            if (_log[number][i].participant == participant) ++times;
        }
    }

    function replay(uint64 number) external view returns (bytes32 hash) {
        hash = seedOf[number];
        for (uint256 i = 0; i < _log[number].length; ++i) {
            Entry memory e = _log[number][i];
            hash = keccak256(abi.encode(hash, e.participant, e.digest, e.tensorRoot, e.weight, e.steps));
            hash = _counted(hash, i + 1);
        }
    }

    function commitments(uint64 number) external view returns (uint256) {
        return _log[number].length;
    }

    function resultOf(uint64 number, uint256 which) public view returns (Result memory) {
        uint32 contributions = uint32(_log[number].length);
        return Result({
            versionDigest: keccak256(abi.encode(number, which)),
            roots: Roots({tensor: "tensor", rest: "rest", state: 0, stateLayout: 0, step: 0}),
            reportDigest: "report",
            aggregateRoot: "aggregate",
            contributionsRoot: "contributions",
            contributions: contributions,
            totalWeight: contributions,
            totalSteps: contributions,
            divisor: contributions
        });
    }

    function attested(uint64 number) external view returns (bytes32[] memory) {
        return _attested[number];
    }

    function versionCount() external view returns (uint256) {
        return versions.length;
    }

    /// @notice What of a version may never change.
    function imprint(bytes32 digest) public view returns (bytes32) {
        bytes32 parent = cairn.version(modelId, digest).parent;
        bytes32 root = cairn.version(modelId, digest).roots;
        return keccak256(abi.encode(parent, root, cairn.version(modelId, digest).outsideRound));
    }

    function _attestable(uint64 number) internal view returns (bool) {
        Phase phase = cairn.phase(modelId, number);
        Round memory round = cairn.round(modelId, number);
        if (_log[number].length < cairn.plan(modelId, round.planIndex).minContributions) return false;
        return phase == Phase.Aggregate || (phase == Phase.Publish && round.endedEarly);
    }

    function _holds(address account, uint8 role) internal view returns (bool) {
        return cairn.member(modelId, account).roles & role != 0;
    }

    function _known(bytes32 digest) internal {
        versions.push(digest);
        sealedVersion[digest] = imprint(digest);
    }

    function _one(uint256 who) internal view returns (address) {
        return people[who % PEOPLE];
    }

    /// @dev 224 bits of a hash, and a number in the low 32.
    function _counted(bytes32 hash, uint256 count) internal pure returns (bytes32) {
        return bytes32(uint256(hash) - uint256(hash) % 2 ** 32 + count);
    }

    function _fresh() internal returns (bytes32) {
        return keccak256(abi.encode("fresh", ++_counter));
    }
}
