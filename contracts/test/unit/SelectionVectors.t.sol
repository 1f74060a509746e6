// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {RoundId} from "../../interfaces/ICairn.sol";
import {ISelections} from "../../interfaces/ISelections.sol";
import {SelectionsMock} from "../mocks/SelectionsMock.sol";
import {Test} from "../support/Test.sol";

/// @notice Selections redone on what Python's integers gave: `tests/rules/test_selections_contract.py` writes the cases.
contract SelectionVectorsTest is Test {
    struct Case {
        bytes rules;
        RoundId roundId;
        bytes32 runningHash;
        bytes products;
        uint256 count;
        uint256[] factors;
        uint256 divisor;
    }

    struct Refused {
        bytes rules;
        bytes products;
    }

    SelectionsMock internal selections = new SelectionsMock();

    function cases() internal view returns (Case[] memory) {
        bytes memory found = vm.parseJsonBytes(vm.readFile("tests/golden/rules/selections.json"), ".cases");
        return abi.decode(found, (Case[]));
    }

    function test_every_case_gives_the_factors_of_integers() public view {
        Case[] memory all = cases();
        check(all.length != 0, "there are some");
        for (uint256 i = 0; i < all.length; ++i) {
            Case memory c = all[i];
            (uint256[] memory factors, uint256 divisor,) =
                selections.choose(c.rules, c.roundId, c.runningHash, c.products, c.count);
            check(keccak256(abi.encode(factors)) == keccak256(abi.encode(c.factors)), "factors");
            same(divisor, c.divisor, "divisor");
        }
    }

    function test_what_is_no_matrix_of_inner_products_or_too_wide_is_refused() public {
        bytes memory found = vm.parseJsonBytes(vm.readFile("tests/golden/rules/selections.json"), ".refused");
        Refused[] memory all = abi.decode(found, (Refused[]));
        check(all.length != 0, "there are some");
        for (uint256 i = 0; i < all.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ISelections.BadProducts.selector));
            selections.choose(all[i].rules, RoundId.wrap(0), 0, all[i].products, 2);
        }
    }
}
