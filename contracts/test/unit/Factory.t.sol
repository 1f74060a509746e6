// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {Challenges} from "../../Challenges.sol";
import {Court} from "../../Court.sol";
import {Factory} from "../../Factory.sol";
import {Labels} from "../../Labels.sol";
import {Scores} from "../../Scores.sol";
import {IFactory, ContractIndex} from "../../interfaces/IFactory.sol";
import {Deploy} from "../support/Deploy.sol";
import {Test} from "../support/Test.sol";

/// @notice Refuses to be made.
contract Unmakeable {
    error NotToday();

    constructor() {
        revert NotToday();
    }
}

contract FactoryTest is Test {
    uint256 internal constant PLACES = uint256(type(ContractIndex).max) + 1;
    address internal constant ANYONE = address(0xA11);

    bytes[] internal codes;
    Factory internal factory;

    function setUp() public {
        codes = Deploy.codes();
        factory = Deploy.factory(Deploy.hashesOf(codes));
    }

    function deploy(ContractIndex place) internal returns (address) {
        return factory.deploy(uint256(place), codes[uint256(place)]);
    }

    function complete() internal returns (Cairn) {
        for (uint256 i = PLACES; i > 0; --i) {
            deploy(ContractIndex(i - 1));
        }
        return Cairn(factory.addressOf(uint256(ContractIndex.Cairn)));
    }

    function test_a_place_past_the_end_is_unknown(uint256 place) public {
        vm.assume(place >= PLACES);
        bytes memory reason = abi.encodeWithSelector(IFactory.UnknownPlace.selector, place, PLACES);
        vm.expectRevert(reason);
        factory.deploy(place, codes[1]);
        vm.expectRevert(reason);
        factory.addressOf(place);
    }

    function test_other_code_is_refused(bytes calldata other) public {
        bytes32[] memory hashes = factory.codeHashes();
        same(hashes.length, PLACES, "a hash for each");
        for (uint256 i = 0; i < PLACES; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IFactory.OtherCode.selector, i, keccak256(other), hashes[i]));
            factory.deploy(i, other);
        }
    }

    function test_a_neighbours_code_is_refused() public {
        bytes32[] memory hashes = factory.codeHashes();
        vm.expectRevert(abi.encodeWithSelector(IFactory.OtherCode.selector, 1, hashes[2], hashes[1]));
        factory.deploy(1, codes[2]);
    }

    function test_code_with_anything_after_it_is_refused() public {
        bytes memory longer = bytes.concat(codes[1], bytes32(0));
        vm.expectRevert(
            abi.encodeWithSelector(IFactory.OtherCode.selector, 1, keccak256(longer), keccak256(codes[1]))
        );
        factory.deploy(1, longer);
    }

    function test_cairn_comes_last() public {
        for (uint256 missing = 1; missing < PLACES; ++missing) {
            setUp();
            for (uint256 i = 1; i < PLACES; ++i) {
                if (i != missing) deploy(ContractIndex(i));
            }
            vm.expectRevert(abi.encodeWithSelector(IFactory.NotDeployed.selector, missing));
            deploy(ContractIndex.Cairn);
            deploy(ContractIndex(missing));
            deploy(ContractIndex.Cairn);
        }
    }

    function test_nothing_is_made_twice() public {
        complete();
        for (uint256 i = 0; i < PLACES; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IFactory.AlreadyDeployed.selector, i));
            deploy(ContractIndex(i));
        }
    }

    function test_anyone_deploys_at_the_address_foretold(uint256 first) public {
        for (uint256 k = 0; k < PLACES; ++k) {
            uint256 place = k == PLACES - 1 ? 0 : 1 + (first % (PLACES - 1) + k) % (PLACES - 1);
            address foretold = factory.addressOf(place);
            same(foretold.code.length, 0, "not there yet");
            expectEvent(address(factory));
            emit IFactory.ContractDeployed(place, foretold);
            vm.prank(address(uint160(uint256(keccak256(abi.encode(ANYONE, k))))));
            same(deploy(ContractIndex(place)), foretold, "deployed");
            check(foretold.code.length != 0, "there");
            same(factory.addressOf(place), foretold, "the same after");
        }
    }

    function test_addresses_follow_from_all_the_codes() public {
        bytes32[] memory hashes = factory.codeHashes();
        bytes32 salt = keccak256(abi.encodePacked(hashes));
        for (uint256 i = 0; i < PLACES; ++i) {
            bytes32 hash = keccak256(abi.encodePacked(bytes1(0xff), address(factory), salt, hashes[i]));
            same(factory.addressOf(i), address(uint160(uint256(hash))), "EIP-1014");
        }
        // The same factory's address, with another list: only Rules are replaced, and all move.
        address[] memory before = new address[](PLACES);
        for (uint256 i = 0; i < PLACES; ++i) {
            before[i] = factory.addressOf(i);
        }
        hashes[uint256(ContractIndex.Rules)] = "other rules";
        Factory other = Deploy.factory(hashes);
        vm.etch(address(factory), address(other).code);
        for (uint256 i = 0; i < PLACES; ++i) {
            check(factory.addressOf(i) != before[i], "elsewhere");
        }
    }

    function test_the_reason_of_a_constructor_comes_through() public {
        bytes[] memory lone = new bytes[](1);
        lone[0] = type(Unmakeable).creationCode;
        Factory one = Deploy.factory(Deploy.hashesOf(lone));
        vm.expectRevert(abi.encodeWithSelector(Unmakeable.NotToday.selector));
        one.deploy(0, lone[0]);
    }

    function test_cairn_and_its_partners_name_each_other() public {
        Cairn cairn = complete();
        (Challenges challenges, Court court) = (Challenges(address(cairn.CHALLENGES())), Court(address(cairn.COURT())));
        same(address(cairn.FACTORY()), address(factory), "Cairn's factory");
        same(address(challenges), factory.addressOf(uint256(ContractIndex.Challenges)), "Cairn's challenges");
        same(address(court), factory.addressOf(uint256(ContractIndex.Court)), "Cairn's court");
        same(address(cairn.RULES()), factory.addressOf(uint256(ContractIndex.Rules)), "Cairn's rules");
        same(address(challenges.CAIRN()), address(cairn), "the challenges' Cairn");
        same(address(challenges.COURT()), address(court), "the challenges' court");
        same(address(court.CAIRN()), address(cairn), "the court's Cairn");
        same(address(court.CHALLENGES()), address(challenges), "the court's challenges");
        Labels labels = Labels(factory.addressOf(uint256(ContractIndex.Labels)));
        same(address(labels.CAIRN()), address(cairn), "the labels' Cairn");
        Scores scores = Scores(factory.addressOf(uint256(ContractIndex.Scores)));
        same(address(scores.CAIRN()), address(cairn), "the scores' Cairn");
    }
}
