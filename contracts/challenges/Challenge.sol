// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Fault, Finding, ICourt, Part} from "../interfaces/ICourt.sol";
import {Target} from "../interfaces/IDisputed.sol";
import {Disputed} from "./Disputed.sol";

/// @title How every challenge ends: the court is told what is wrong
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
