// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Part} from "../../interfaces/ICourt.sol";
import {Opening} from "../../interfaces/IDisputed.sol";
import {Demanding} from "./Demanding.sol";
import {World} from "./Disputes.sol";
import {Trees} from "./Trees.sol";

/// @notice A plan with a bond, and a lie that is quickly told: a version whose rest is not its parent's.
abstract contract Bonded is Demanding {
    uint128 internal constant BOND = 3 ether;

    /// The lie that `lied` tells, and the claim that convicts it, both known beforehand.
    bytes32 internal lie;
    bytes32 internal claim;
    bytes private _told;

    function setUp() public virtual override {
        super.setUp();
        bondGwei = uint64(BOND / 1 gwei);
        World memory w = honest(3, 24);
        anchor(w);
        deposits(3);
        w.result.roots.rest = "another";
        _told = abi.encode(w);
        lie = hashOf(w.result);
        claim = claimOf(w, Part.Whole, 0);
    }

    function told() internal view returns (World memory) {
        return abi.decode(_told, (World));
    }

    /// @dev A bond for each of the first so many aggregators.
    function deposits(uint256 count) internal {
        for (uint256 i = 0; i < count; ++i) {
            vm.deal(aggregators[i], 10 ether);
            vm.prank(aggregators[i]);
            court.depositBond{value: BOND}(modelId);
        }
    }

    /// @dev Two attest the lie, and it is convicted.
    function lied() internal {
        World memory w = told();
        agreed(w);
        succeeds(CHALLENGER, abi.encodeCall(challenges.convictRoots, (targetOf(w), basisOf(w))));
    }

    /// @dev Another round, in a new model, of which two have attested what is so.
    function bonded(World memory w) internal {
        anchor(w);
        deposits(2);
        agreed(w);
    }

    function sealed_(address challenger, bytes32 salt) internal {
        court.sealClaim(sealOf(challenger, salt, claim));
    }

    function sealOf(address challenger, bytes32 salt, bytes32 what) internal pure returns (bytes32) {
        return keccak256(abi.encode(challenger, salt, what));
    }

    function opened(World memory w) internal pure returns (Opening memory) {
        return Trees.openAt(w.aggregate, 0);
    }
}
