// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Plan} from "./ICairn.sol";

/// @notice How contributions are combined. A rule's number says which function readers run; its shape, how the contract
/// convicts by it.
enum Shape {
    None,
    Fold, // the sum of factor times value over a divisor
    Columns, // the mean of a coordinate's values but the least and the greatest; how many, says the first parameter
    Select, // a fold whose factors and divisor follow from statistics that readers replay
    SelectColumns // factors of 0 and 1 follow from them; then the mean of the selected values nearest to their median
}

/// @notice What rule bytes say, but for the server program.
struct RuleSet {
    uint16 combineRule;
    Shape shape;
    uint16 updateForm;
    /// Whether each contribution counts once, whatever its weight.
    bool uniform;
    /// s: update values are integers times 2^-s.
    uint8 gridBits;
    /// Coordinates of a version: values of its F32 tensors.
    uint64 values;
    /// sha2-256 of the header of an update's file.
    bytes32 header;
    /// Counted Merkle root of the segments.
    bytes32 segments;
    /// Parameters of the combine rule, then those of the update form.
    int64[] parameters;
    /// States that the server program keeps for each coordinate.
    uint8 states;
    /// f: the program's step is an integer times 2^-f of a grid step.
    uint8 fractionBits;
}

/// @notice What a server program reads beside a coordinate: anchored numbers of the round.
struct Scalars {
    /// Server steps with this one.
    uint64 step;
    uint32 contributions;
    uint32 totalWeight;
    uint64 totalSteps;
}

/// @title Rules: what a plan may say, and what a round computes, as data
/// @notice Checks plans, reads rule bytes, and runs a server program on one coordinate. Holds nothing.
///
/// Rule bytes, integers big-endian:
///
///     version      uint8 = 1
///     combine      rule uint16, shape uint8, updateForm uint16, uniform uint8, gridBits uint8
///     file         values uint64, header bytes32, segments bytes32
///     parameters   uint8 count, that many int64; of columns, the first is the share of values left out at each end, in
///                  65536ths, 0..2^15, never so many that none is left: min(⌊K · share / 2^16⌋, ⌊(K - 1) / 2⌋) of K;
///                  of select columns, the number of values left out, 0..2^15: max(1, K - number) of K are kept;
///                  under update form 2 the last two are bits, 4, 8 or 16, and how many of 256 values a row keeps,
///                  0 for all, at most 128, none of 4 bits and none under columns and select columns
///     server       the server program, see `docs/format.md`
///
/// What is not checked here: that the program's intervals hold, that the segments are those of the parent, that the
/// parent has this header. Readers check that before they use a plan; no honest aggregator attests under one that fails.
interface IRules {
    /// @notice The byte at this offset, or the length, is not what rule bytes have.
    error BadRules(uint256 offset);
    /// @notice The rule bytes given are not those that the plan names.
    error OtherRules(bytes32 given, bytes32 expected);
    /// @notice A term of the plan, by its name there. Without a bond the longest `lateDuration` is 0.
    error BadTerm(string term, uint256 value, uint256 min, uint256 max);
    /// @notice A plan names more hooks than there may be.
    error TooManyHooks(uint256 hooks, uint256 max);
    /// @notice A plan names the zero address as a hook.
    error ZeroHook(uint256 index);

    // slither-disable-start naming-convention
    function MAX_GRID_BITS() external view returns (uint8); // 126
    function MAX_VALUES() external view returns (uint64); // 2^40 - 1
    /// @notice Most parameters of a combine rule.
    function MAX_PARAMETERS() external view returns (uint8); // 8
    function MIN_DURATION() external view returns (uint32); // 30 seconds
    function MAX_DURATION() external view returns (uint32); // 90 days
    /// @notice Answer times that a challenge window holds at least: a hidden tree of 2^31 leaves is walked to any of them.
    function WALK_STEPS() external view returns (uint32); // 32
    /// @notice Largest price of a demanded leaf, in gwei: 4 times the gas of an answer (Court.ANSWER_GAS) at 100 gwei. A
    /// plan that asks more would keep auditors from demanding; this is under Court.MAX_DEPOSIT.
    function MAX_DEMAND_PRICE_GWEI() external view returns (uint32); // 0.06 ether
    /// @notice Most hooks of a plan.
    function MAX_HOOKS() external view returns (uint256); // 4
    // slither-disable-end naming-convention

    /// @notice Reverts unless every field of the plan is one that rounds can run under, and these are its rule bytes.
    function requirePlan(Plan calldata plan, bytes calldata rules) external pure;

    /// @notice Reverts unless these are rule bytes, in their one form.
    function requireValid(bytes calldata rules) external pure;

    /// @notice What rule bytes say. Of bytes that are none it may say anything.
    function read(bytes calldata rules) external pure returns (RuleSet memory);

    /// @notice What the server's state is laid out by: keccak256 of gridBits, segments, and the states' bounds and
    /// initial values as they are encoded. Zero for rules without state.
    function layoutOf(bytes calldata rules) external pure returns (bytes32);

    /// @notice The states of a coordinate before the first step.
    function initialStates(bytes calldata rules) external pure returns (int256[] memory);

    /// @notice The integer of a coordinate in the packed row that holds it, under rules with update form 2.
    /// @param row Of as many bytes as these rules give a row.
    /// @param whole Whether the whole row is checked, not this integer alone.
    /// @return canonical Whether it may stand in an update: the row is the one encoding of its integers.
    function unpack(bytes calldata rules, bytes calldata row, uint64 coordinate, bool whole)
        external
        pure
        returns (bool canonical, int256 q);

    /// @notice Runs the server program on one coordinate.
    /// @param q The aggregate's grid integer.
    /// @param state As many as the rules have.
    /// @return d The step, |d| <= 2^24, in units of 2^-fractionBits of a grid step.
    /// @return next The state after it, within its bounds.
    function serverStep(bytes calldata rules, int256 q, int256[] calldata state, Scalars calldata scalars)
        external
        pure
        returns (int256 d, int256[] memory next);
}
