// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Fault, Finding, ICourt, Part} from "../interfaces/ICourt.sol";
import {Basis, Opening, Target} from "../interfaces/IDisputed.sol";
import {RuleBytes} from "../rules/RuleBytes.sol";
import {Disputed} from "./Disputed.sol";
import {Grid} from "./Grid.sol";

/// @title Base contract for fraud proofs: reads values from Merkle-proved chunks, reports a proved fault to the Court
abstract contract Challenge is Disputed, IChallenges {
    /// @dev What is wrong, and of which claim.
    struct Wrong {
        Fault fault;
        Part part;
        uint64 index;
    }

    /// @inheritdoc IChallenges
    // slither-disable-next-line naming-convention
    ICourt public immutable COURT;

    /// @dev As `_openOn`, where the values of updates are such as the chain reads.
    function _openValues(Target calldata target, Basis calldata basis) internal view returns (Dispute memory found) {
        found = _openOn(target, basis);
        bool isRead = RuleBytes.isDense(basis.rules) || RuleBytes.isPacked(basis.rules);
        if (!isRead) revert FormNotDisputable(RuleBytes.updateForm(basis.rules));
    }

    /// @dev The grid integer of a coordinate: of an update in its rows, or of the aggregate in those of values.
    function _integerAt(
        bytes calldata rules,
        Opening calldata opening,
        uint64 coordinate,
        bytes32 root,
        Rows memory rows
    ) internal view returns (int256 q) {
        // slither-disable-next-line unused-return
        _requireEntry(opening, _entryOf(coordinate, rows), root, rows);
        bool canonical;
        (canonical, q) = _valueIn(rules, opening.leaf, coordinate, rows, false);
        if (!canonical) revert NotOnGrid(coordinate);
    }

    /// @param chunk Of the length that its place says.
    /// @param whole Of a packed row, whether all of it is asked about, not this coordinate alone.
    /// @return canonical Whether the value may stand in an update.
    function _valueIn(bytes calldata rules, bytes calldata chunk, uint64 coordinate, Rows memory rows, bool whole)
        internal
        view
        returns (bool canonical, int256 q)
    {
        // slither-disable-next-line calls-loop
        if (rows.entryBytes == 1) return RULES.unpack(rules, chunk, coordinate, whole);
        uint32 bits = _bitsAt(chunk, uint256(coordinate % CHUNK_VALUES) * rows.entryBytes);
        return Grid.toInteger(bits, RuleBytes.gridBits(rules));
    }

    /// @return found The states of a coordinate, which stand one after the other in one chunk.
    function _statesAt(Opening calldata opening, uint64 coordinate, bytes32 root, uint8 states)
        internal
        view
        returns (int256[] memory found)
    {
        uint256 begin = _requireEntry(opening, coordinate * states, root, _stateRows(states));
        found = new int256[](states);
        for (uint256 i = 0; i < states; ++i) {
            found[i] = _int64At(opening.leaf, begin + 8 * i);
        }
    }

    /// @dev int64 values too.
    function _int64At(bytes calldata chunk, uint256 begin) internal pure returns (int64) {
        uint256 low = _bitsAt(chunk, begin);
        uint256 high = _bitsAt(chunk, begin + 4);
        // forge-lint: disable-next-line(unsafe-typecast)
        return int64(uint64((high << 32) | low));
    }

    /// @dev Given in memory: the compiler would make a copy of the function for each set of constant arguments.
    function _convict(Target calldata target, Dispute memory found, Wrong memory wrong) internal {
        COURT.convict(
            Finding({
                modelId: target.modelId,
                number: target.number,
                roundId: found.roundId,
                tally: found.tally,
                challengeDuration: found.challengeDuration,
                challenger: msg.sender,
                fault: wrong.fault,
                part: wrong.part,
                index: wrong.index
            })
        );
    }
}
