// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Segment} from "./IChallenges.sol";
import {ICourt} from "./ICourt.sol";
import {Basis, Contribution, Counted, IDisputed, Membership, Opening, Target} from "./IDisputed.sol";

/// @notice A row of an update: the chunks of 4096 coordinates, the last row's of what is left.
struct UpdateRow {
    Membership membership;
    /// Of the update's root.
    Counted counted;
    /// The chunks, one after the other.
    bytes values;
    /// From the sibling of the row's subtree up.
    bytes32[] proof;
}

/// @notice What shows a false inner product of two contributions: one row of both, and the sums before and after it.
struct Product {
    uint64 row;
    UpdateRow left;
    UpdateRow right;
    /// Of the left contribution: the leaf of the row before, ignored for the first row, and of this one.
    Opening sumsBefore;
    Opening sums;
    /// The segment that gives the unit; ignored where there is none.
    Segment finest;
    /// Those that the row's coordinates stand in, in order.
    Segment[] segments;
}

/// @notice What a selection follows from.
struct Selection {
    /// All contributions, in order.
    Contribution[] contributions;
    /// The leaves of the last row, one after the other: K * K words.
    bytes products;
    /// Roots of the perfect subtrees of the leaves before, largest first.
    bytes32[] peaks;
}

/// @title Selections: factors that do not follow from the contributions
/// @notice Shows the court a false selection. Under rules that select, factors and divisor follow from the inner products
/// of all pairs of contributions. The report anchors a tree of these, summed up row by row: so one row convicts a false
/// inner product, and the last row is all that the selection needs, which the contract redoes in integers.
///
/// The Gram part of a report. Where the rules select and at most 32 contributions are listed, the report's head has two
/// words more before its link, so 64 bytes more in the length of its fields; see `IChallenges.convictHead`:
///
///     gramRoot     bytes32, a counted root of R * K * K numbers, R being the rows of 4096 coordinates
///     finest       uint256, where the parameters' segment with the least exponent E stands in the segments root, of
///                  several any; 2^64 - 1 where no segment is of parameters
///
/// With K contributions, leaf r * K + k of the root holds K words of two's complement. Word j is the sum of
/// q_k * q_j * 2^(2 (e - E)) over the coordinates of parameters below 4096 (r + 1), q_k being the grid integers of
/// contribution k and e the exponent of a coordinate's segment.
///
/// Rules that are redone: 5 (Multi-Krum), 6 (geometric median), 7 (clipped norms), 8 (Bulyan), each with mixing or buckets
/// where its parameters say so. Sums are modulo 2^256; nobody honest attests under rules whose inner products exceed that.
///
/// Assumptions. Those of `IChallenges`. The segments of the rules are the parent's.
interface ISelections is IDisputed {
    /// @notice More contributions than there are inner products of, or rules that select nothing.
    error NoGramPart();
    /// @notice The combine rule is none that is redone.
    error UnknownSelection(uint16 combineRule);
    /// @notice The inner products are none, or so large that redoing the selection may overflow.
    error BadProducts();

    // slither-disable-next-line naming-convention
    function COURT() external view returns (ICourt);

    /// @notice The report's head lacks the Gram part, or has one where there is none; or its root is zero.
    function convictReport(Target calldata target, Basis calldata basis, bytes calldata head) external;

    /// @notice The unit of the inner products is another segment's than that of the finest parameters.
    /// @param claimed The one that the head names; ignored where it names none, or one past the end.
    /// @param finer One of parameters, with a lesser exponent; where the head names one past the end, any. To convict a
    /// head that names no segment of parameters, that segment.
    function convictFinest(
        Target calldata target,
        Basis calldata basis,
        bytes calldata head,
        Segment calldata claimed,
        Segment calldata finer
    ) external;

    /// @notice The root of the inner products counts another number of them.
    function convictGramSize(Target calldata target, Basis calldata basis, bytes calldata head, Counted calldata counted)
        external;

    /// @notice A sum of inner products is not the sum before plus what a row adds; or its leaf has another length.
    function convictProduct(Target calldata target, Basis calldata basis, bytes calldata head, Product calldata product)
        external;

    /// @notice The factors or the divisor are not those that the rule gives for the inner products.
    function convictSelection(
        Target calldata target,
        Basis calldata basis,
        bytes calldata head,
        Selection calldata selection
    ) external;
}
