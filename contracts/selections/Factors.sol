// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {RoundId} from "../interfaces/ICairn.sol";
import {ISelections} from "../interfaces/ISelections.sol";
import {RuleBytes} from "../rules/RuleBytes.sol";
import {Draws} from "./Draws.sol";
import {Gram} from "./Gram.sol";
import {RobustRules} from "./RobustRules.sol";

/// @title From inner products to factors, as `registry/rules/selection.py` computes them
library Factors {
    /// @dev Their numbers, and where their parameters stand in rule bytes: `registry/rules/table.py` has the same table.
    uint16 private constant MULTI_KRUM = 5;
    uint16 private constant GEOMETRIC_MEDIAN = 6;
    uint16 private constant NORM_CLIP = 7;
    uint16 private constant BULYAN = 8;
    /// @dev One, in units of a factor.
    uint256 private constant UNIT = RuleBytes.SHARE;

    /// @notice Factors and divisor that the rules give for the inner products of the contributions, in their order.
    function choose(bytes calldata rules, RoundId roundId, bytes32 runningHash, int256[] memory products)
        internal
        pure
        returns (uint256[] memory factors, uint256 divisor)
    {
        uint256 count = Math.sqrt(products.length);
        (uint256 mixed, uint256 bucket) = _before(rules);
        uint256 dropped = mixed < (count - 1) / 2 ? mixed : (count - 1) / 2;
        bool whole = RuleBytes.combineRule(rules) == NORM_CLIP;
        if (bucket < 2 && dropped == 0) {
            factors = _weigh(rules, products, count, 1);
            return (factors, whole ? count * UNIT : Gram.sum(factors));
        }
        uint256[] memory members;
        uint256 shares = 1;
        if (bucket > 1) {
            members = Draws.buckets(Draws.order(roundId, runningHash, count), bucket);
            shares = members.length * Gram.bits(members[members.length - 1]);
        } else {
            members = Gram.neighbours(products, count, count - dropped);
        }
        return _throughMeans(rules, products, members, whole ? shares : 0);
    }

    function _throughMeans(
        bytes calldata rules,
        int256[] memory products,
        uint256[] memory members,
        uint256 whole
    ) private pure returns (uint256[] memory factors, uint256 divisor) {
        uint256 count = Math.sqrt(products.length);
        (int256[] memory ofMeans, uint256 unit) = Gram.mixed(products, count, members);
        factors = _weigh(rules, ofMeans, members.length, unit);
        return _ofUpdates(factors, members, count, whole);
    }

    /// @dev The last two parameters, of all but Bulyan.
    function _before(bytes calldata rules) private pure returns (uint256 mixed, uint256 bucket) {
        uint16 rule = RuleBytes.combineRule(rules);
        if (rule < MULTI_KRUM || rule > BULYAN) revert ISelections.UnknownSelection(rule);
        if (rule == BULYAN) return (0, 0);
        uint256 first = rule == MULTI_KRUM ? 2 : 1;
        return (_parameter(rules, first), _parameter(rules, first + 1));
    }

    function _weigh(bytes calldata rules, int256[] memory products, uint256 count, uint256 unit)
        private
        pure
        returns (uint256[] memory)
    {
        uint16 rule = RuleBytes.combineRule(rules);
        uint256 first = _parameter(rules, 0);
        if (rule == MULTI_KRUM) return RobustRules.multiKrum(products, count, first, _parameter(rules, 1));
        if (rule == GEOMETRIC_MEDIAN) return RobustRules.geometricMedian(products, count, first);
        if (rule == NORM_CLIP) return RobustRules.clippedNorms(products, count, first * unit);
        return RobustRules.repeatedKrum(products, count, first / 2); // of 2f values left out
    }

    /// @dev Factors of updates from those of their means: a mean of m updates gives each of them an m-th.
    /// @param whole Where means count as if in full, how many that are; else 0, and the largest factor is one.
    function _ofUpdates(uint256[] memory ofMeans, uint256[] memory members, uint256 count, uint256 whole)
        private
        pure
        returns (uint256[] memory factors, uint256 divisor)
    {
        factors = new uint256[](count);
        uint256 most = 0;
        for (uint256 m = 0; m < members.length; ++m) {
            uint256 share = ofMeans[m] * UNIT / Gram.bits(members[m]);
            for (uint256 k = 0; k < count; ++k) {
                if (members[m] >> k & 1 == 1) factors[k] += share;
            }
        }
        for (uint256 k = 0; k < count; ++k) {
            if (factors[k] > most) most = factors[k];
        }
        for (uint256 k = 0; k < count; ++k) {
            factors[k] = whole == 0 ? factors[k] * UNIT / most : factors[k] * whole / (members.length * UNIT);
        }
        divisor = whole == 0 ? Gram.sum(factors) : whole * UNIT;
    }

    /// @dev None is negative; of rule bytes that have too few of them whatever follows.
    function _parameter(bytes calldata rules, uint256 index) private pure returns (uint256) {
        return uint64(bytes8(rules[RuleBytes.FIXED + 8 * index:]));
    }
}
