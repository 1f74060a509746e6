// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {ICairn, ModelId, Phase, Plan, Result, RoundId, Roots, SignedUpdate} from "../../interfaces/ICairn.sol";
import {Deploy} from "./Deploy.sol";
import {RuleBook} from "./RuleBook.sol";
import {Test} from "./Test.sol";

/// @notice A deployment, a model with three participants and three aggregators, and a plan with a quorum of two.
abstract contract Base is Test {
    uint256 internal constant START = 1_000_000;
    uint32 internal constant COMMIT = 100;
    uint32 internal constant PUBLISH = 200;
    uint32 internal constant AGGREGATE = 300;
    uint32 internal constant CHALLENGE = 3200;
    uint32 internal constant ANSWER = 100;
    uint32 internal constant CAP = 1000;

    bytes32 internal constant GENESIS = "genesis";
    bytes32 internal constant GENESIS_ROOT = "genesis root";
    bytes32 internal constant REST = "rest";
    bytes32 internal constant DIGEST = "update";
    bytes32 internal constant ROOT = "tensor root";
    uint32 internal constant WEIGHT = 10;
    uint32 internal constant STEPS = 4;

    address internal constant OWNER = address(0xA11CE);
    address internal constant STRANGER = address(0x57A6E);
    uint8 internal constant P = 1;
    uint8 internal constant A = 2;

    bytes private _someRules;
    Cairn internal cairn;
    ModelId internal modelId;
    /// Ascending by address.
    address[] internal participants;
    mapping(address account => uint256 key) internal keyOf;
    address[3] internal aggregators = [address(0xA1), address(0xA2), address(0xA3)];

    function setUp() public virtual {
        vm.warp(START);
        _someRules = RuleBook.encode(RuleBook.simple(40, 24));
        cairn = Deploy.cairn();
        vm.startPrank(OWNER);
        modelId = cairn.registerModel(GENESIS, GENESIS_ROOT, REST);
        cairn.setPlan(modelId, somePlan(), someRules());
        for (uint256 key = 1; key <= 3; ++key) {
            _addParticipant(key);
            cairn.grantRoles(modelId, aggregators[key - 1], A);
        }
        vm.stopPrank();
    }

    function somePlan() internal view returns (Plan memory) {
        return Plan({
            digest: "plan",
            rulesHash: keccak256(someRules()),
            quorum: 2,
            weightCap: CAP,
            minContributions: 2,
            commitDuration: COMMIT,
            publishDuration: PUBLISH,
            aggregateDuration: AGGREGATE,
            challengeDuration: CHALLENGE,
            answerDuration: ANSWER,
            bondGwei: 0,
            demandPriceGwei: 0,
            lateDuration: 0,
            enoughCommitments: 0,
            leastCommitDuration: 0,
            hooks: new address[](0)
        });
    }

    /// @dev Made once: hashing is a call to a precompile, which would take a prank for its own.
    function someRules() internal view returns (bytes memory) {
        return _someRules;
    }

    function rootsOf(bytes32 tensor, bytes32 rest) internal pure returns (Roots memory) {
        return Roots({tensor: tensor, rest: rest, state: 0, stateLayout: 0, step: 0});
    }

    function hashOf(Roots memory roots) internal pure returns (bytes32) {
        return keccak256(abi.encode(roots));
    }

    function someResult(bytes32 versionDigest) internal pure returns (Result memory) {
        return Result({
            versionDigest: versionDigest,
            roots: rootsOf("version root", REST),
            reportDigest: "report",
            aggregateRoot: "aggregate root",
            contributionsRoot: "contributions root",
            contributions: 3,
            totalWeight: 3 * WEIGHT,
            totalSteps: 3 * STEPS,
            divisor: 3 * WEIGHT
        });
    }

    function hashOf(Result memory result) internal pure returns (bytes32) {
        return keccak256(abi.encode(result));
    }

    function roundId(uint64 number) internal view returns (RoundId) {
        return cairn.roundIdOf(modelId, number);
    }

    function runningHash(uint64 number) internal view returns (bytes32) {
        return cairn.round(modelId, number).runningHash;
    }

    function setPlan(Plan memory plan) internal {
        vm.prank(OWNER);
        cairn.setPlan(modelId, plan, someRules());
    }

    function open() internal returns (uint64) {
        vm.prank(OWNER);
        return cairn.openRound(modelId);
    }

    function commit(address participant, uint64 number) internal {
        vm.prank(participant);
        cairn.commitUpdate(modelId, number, DIGEST, ROOT, WEIGHT, STEPS);
    }

    /// @dev The usual update of a participant, signed by nobody, for ever.
    function updateOf(address participant) internal pure returns (SignedUpdate memory u) {
        u.participant = participant;
        u.digest = DIGEST;
        u.tensorRoot = ROOT;
        u.weight = WEIGHT;
        u.steps = STEPS;
        u.validUntil = type(uint64).max;
    }

    function sign(uint256 key, uint64 number, SignedUpdate memory u) internal view {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, cairn.commitmentHash(modelId, number, u));
        u.signature = abi.encodePacked(r, s, v);
    }

    /// @dev What the running hash must be after one commitment more.
    function extended(bytes32 running, address participant, bytes32 digest, bytes32 root, uint32 weight, uint32 steps)
        internal
        pure
        returns (bytes32)
    {
        bytes32 hash = keccak256(abi.encode(running, participant, digest, root, weight, steps));
        uint256 count = uint256(running) % 2 ** 32 + 1;
        return bytes32(uint256(hash) - uint256(hash) % 2 ** 32 + count);
    }

    /// @dev A hash with its low 32 bits, where the number of commitments stands, zero.
    function uncounted(bytes32 hash) internal pure returns (bytes32) {
        return bytes32(uint256(hash) - uint256(hash) % 2 ** 32);
    }

    function with(bytes memory hookData) internal pure returns (bytes[] memory list) {
        list = new bytes[](1);
        list[0] = hookData;
    }

    function commitAll(uint64 number) internal {
        for (uint256 i = 0; i < participants.length; ++i) {
            commit(participants[i], number);
        }
    }

    function attest(address aggregator, uint64 number, Result memory result) internal {
        bytes32 hash = runningHash(number);
        vm.prank(aggregator);
        cairn.attestResult(modelId, number, result, hash);
    }

    function agree(uint64 number, Result memory result) internal {
        attest(aggregators[0], number, result);
        attest(aggregators[1], number, result);
    }

    /// @dev Opens a round and moves to the first second of a phase, as far as time alone leads there.
    function openTo(Phase to) internal returns (uint64 number) {
        number = open();
        commitAll(number);
        if (to == Phase.Publish) forward(COMMIT);
        if (to == Phase.Aggregate) forward(COMMIT + PUBLISH);
        if (to == Phase.Cancelled) forward(COMMIT + PUBLISH + AGGREGATE);
        if (to == Phase.Challenge || to == Phase.Final) {
            forward(COMMIT + PUBLISH);
            agree(number, someResult("version"));
        }
        if (to == Phase.Final) forward(CHALLENGE);
        same(uint256(cairn.phase(modelId, number)), uint256(to), "phase reached");
    }

    function finalized(bytes32 versionDigest) internal returns (uint64 number) {
        number = openTo(Phase.Aggregate);
        agree(number, someResult(versionDigest));
        forward(CHALLENGE);
        cairn.finalizeRound(modelId, number, someResult(versionDigest));
    }

    function wrongPhase(uint64 number, Phase expected, Phase actual) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.WrongPhase.selector, roundId(number), expected, actual);
    }

    function notOwner(address caller) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.NotOwner.selector, modelId, caller);
    }

    function missingRole(address account, uint8 role) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.MissingRole.selector, modelId, account, role);
    }

    function _addParticipant(uint256 key) private {
        address account = vm.addr(key);
        keyOf[account] = key;
        cairn.grantRoles(modelId, account, P);
        participants.push(account);
        for (uint256 i = participants.length - 1; i > 0 && participants[i] < participants[i - 1]; --i) {
            (participants[i], participants[i - 1]) = (participants[i - 1], participants[i]);
        }
    }
}
