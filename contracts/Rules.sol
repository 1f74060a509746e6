// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Plan} from "./interfaces/ICairn.sol";
import {IRules, RuleSet, Scalars, Shape} from "./interfaces/IRules.sol";
import {Packed, Packing} from "./rules/Packed.sol";
import {Programs} from "./rules/Programs.sol";
import {RuleBytes} from "./rules/RuleBytes.sol";

/// @title Rules
/// @notice Stateless. What it does is said in `interfaces/IRules.sol`.
contract Rules is IRules {
    /// @inheritdoc IRules
    uint8 public constant MAX_GRID_BITS = 126;
    /// @inheritdoc IRules
    uint64 public constant MAX_VALUES = (1 << 40) - 1;
    /// @inheritdoc IRules
    uint8 public constant MAX_PARAMETERS = 8;

    /// @inheritdoc IRules
    uint32 public constant MIN_DURATION = 30 seconds;
    /// @inheritdoc IRules
    uint32 public constant MAX_DURATION = 90 days;
    /// @inheritdoc IRules
    uint32 public constant WALK_STEPS = 32;
    /// @inheritdoc IRules
    uint32 public constant MAX_DEMAND_PRICE_GWEI = 4 * 150_000 * 100;
    /// @inheritdoc IRules
    uint256 public constant MAX_HOOKS = 4;
    /// @dev Half, in 65536ths; and the most values that select columns leave out.
    uint64 private constant MAX_SHARE = 1 << 15;
    /// @dev Cairn's.
    uint32 private constant MAX_WEIGHT = 1 << 28;

    /// @inheritdoc IRules
    function requirePlan(Plan calldata p, bytes calldata rules) external pure {
        bytes32 rulesHash = keccak256(rules);
        if (rulesHash != p.rulesHash) revert OtherRules(rulesHash, p.rulesHash);
        _requireRules(rules);
        _within("quorum", p.quorum, 1, type(uint16).max);
        _within("weightCap", p.weightCap, 1, MAX_WEIGHT);
        _within("minContributions", p.minContributions, 1, type(uint32).max);
        _within("commitDuration", p.commitDuration, MIN_DURATION, MAX_DURATION);
        _within("publishDuration", p.publishDuration, MIN_DURATION, MAX_DURATION);
        _within("aggregateDuration", p.aggregateDuration, MIN_DURATION, MAX_DURATION);
        _within("challengeDuration", p.challengeDuration, MIN_DURATION, MAX_DURATION);
        uint32 longest = p.challengeDuration / WALK_STEPS;
        _within("answerDuration", p.answerDuration, MIN_DURATION, longest);
        _within("lateDuration", p.lateDuration, 0, p.bondGwei == 0 ? 0 : longest - p.answerDuration);
        bool mayEnd = p.enoughCommitments != 0;
        _within("enoughCommitments", p.enoughCommitments, mayEnd ? p.minContributions : 0, type(uint32).max);
        _within(
            "leastCommitDuration", p.leastCommitDuration, mayEnd ? MIN_DURATION : 0, mayEnd ? p.commitDuration : 0
        );
        _within("demandPriceGwei", p.demandPriceGwei, 0, MAX_DEMAND_PRICE_GWEI);
        if (p.hooks.length > MAX_HOOKS) revert TooManyHooks(p.hooks.length, MAX_HOOKS);
        for (uint256 i = 0; i < p.hooks.length; ++i) {
            if (p.hooks[i] == address(0)) revert ZeroHook(i);
        }
    }

    /// @inheritdoc IRules
    function requireValid(bytes calldata rules) external pure {
        _requireRules(rules);
    }

    /// @inheritdoc IRules
    function read(bytes calldata rules) external pure returns (RuleSet memory found) {
        found = RuleBytes.read(rules);
        bytes calldata program = _program(rules);
        found.states = uint8(Programs.states(program));
        found.fractionBits = uint8(Programs.fractionBits(program));
    }

    /// @inheritdoc IRules
    function layoutOf(bytes calldata rules) external pure returns (bytes32) {
        bytes calldata program = _program(rules);
        if (Programs.states(program) == 0) return 0;
        bytes calldata states = Programs.stateSection(program);
        return keccak256(abi.encodePacked(RuleBytes.gridBits(rules), RuleBytes.segments(rules), states));
    }

    /// @inheritdoc IRules
    function initialStates(bytes calldata rules) external pure returns (int256[] memory found) {
        bytes calldata program = _program(rules);
        found = new int256[](Programs.states(program));
        for (uint256 i = 0; i < found.length; ++i) {
            // slither-disable-next-line unused-return
            (,, found[i]) = Programs.bounds(program, i);
        }
    }

    /// @inheritdoc IRules
    function unpack(bytes calldata rules, bytes calldata row, uint64 coordinate, bool whole)
        external
        pure
        returns (bool canonical, int256 q)
    {
        Packing memory packing = RuleBytes.packing(rules);
        uint256 place = coordinate % Packed.VALUES;
        (canonical, q) = Packed.integerAt(packing, row, place);
        if (!whole) return (canonical, q);
        uint256 first = coordinate - place;
        uint256 values = RuleBytes.values(rules);
        canonical = Packed.isCanonical(packing, row, values > first ? values - first : 0);
    }

    /// @inheritdoc IRules
    function serverStep(bytes calldata rules, int256 q, int256[] calldata state, Scalars calldata scalars)
        external
        pure
        returns (int256 d, int256[] memory next)
    {
        int256[4] memory numbers = [
            int256(uint256(scalars.step)),
            int256(uint256(scalars.contributions)),
            int256(uint256(scalars.totalWeight)),
            int256(uint256(scalars.totalSteps))
        ];
        return Programs.run(_program(rules), q, state, numbers);
    }

    function _requireRules(bytes calldata rules) private pure {
        if (rules.length <= RuleBytes.FIXED) revert BadRules(rules.length);
        if (uint8(rules[0]) != RuleBytes.VERSION) revert BadRules(0);
        uint8 shape = uint8(rules[3]);
        if (shape == uint8(Shape.None) || shape > uint8(type(Shape).max)) revert BadRules(3);
        if (RuleBytes.combineRule(rules) == 0) revert BadRules(1);
        if (uint16(bytes2(rules[4:])) == 0) revert BadRules(4);
        if (uint8(rules[6]) > 1) revert BadRules(6);
        if (RuleBytes.gridBits(rules) > MAX_GRID_BITS) revert BadRules(7);
        uint64 values = RuleBytes.values(rules);
        if (values == 0 || values > MAX_VALUES) revert BadRules(8);
        _requireParameters(rules);
        Programs.requireValid(_program(rules));
    }

    function _requireParameters(bytes calldata rules) private pure {
        uint8 count = uint8(rules[80]);
        if (count > MAX_PARAMETERS) revert BadRules(80);
        if (RuleBytes.programAt(rules) > rules.length) revert BadRules(rules.length);
        bool ordered = RuleBytes.isColumns(rules) || RuleBytes.isSelectColumns(rules);
        bool packed = RuleBytes.isPacked(rules);
        if (count < (ordered ? 1 : 0) + (packed ? 2 : 0)) revert BadRules(80);
        if (packed) {
            uint256 end = RuleBytes.programAt(rules);
            uint64 bits = uint64(bytes8(rules[end - 16:]));
            uint64 kept = uint64(bytes8(rules[end - 8:]));
            if (!Packed.isValid(bits, kept)) revert BadRules(end - 16);
            // Most values of a coordinate would be zeros that nobody measured.
            if (ordered && kept != 0) revert BadRules(end - 8);
        }
        if (ordered && uint64(bytes8(rules[RuleBytes.FIXED:])) > MAX_SHARE) revert BadRules(RuleBytes.FIXED);
    }

    function _program(bytes calldata rules) private pure returns (bytes calldata) {
        return rules[RuleBytes.programAt(rules):];
    }

    function _within(string memory term, uint256 value, uint256 min, uint256 max) private pure {
        if (value < min || value > max) revert BadTerm(term, value, min, max);
    }
}
