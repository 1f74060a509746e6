// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Labels} from "../../Labels.sol";
import {ICairn, ModelId, Phase} from "../../interfaces/ICairn.sol";
import {ContractIndex} from "../../interfaces/IFactory.sol";
import {ILabels} from "../../interfaces/ILabels.sol";
import {Base} from "../support/Base.sol";

contract LabelsTest is Base {
    string internal constant CHARACTERS = "1 to 31 of a-z 0-9 - _ .";
    string internal constant OWN_NAME =
        "a letter first and no other name of a version: not hex digits alone, head, genesis, round-..., baf..., v1...";
    bytes32 internal constant NEXT = "next";

    Labels internal labels;

    function setUp() public override {
        super.setUp();
        labels = Labels(cairn.FACTORY().addressOf(uint256(ContractIndex.Labels)));
        vm.prank(OWNER);
        cairn.publishVersion(modelId, GENESIS, NEXT, "root", REST);
    }

    function badName(string memory name, string memory expected) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ILabels.BadName.selector, name, expected);
    }

    function unknown(bytes32 digest) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.UnknownVersion.selector, modelId, digest);
    }

    function setAlias(string memory name, bytes32 digest) internal {
        vm.prank(OWNER);
        labels.setAlias(modelId, name, digest);
    }

    /// @dev Each of the five, for a model; the next call must revert each time.
    function refused(ModelId id, address caller, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(caller);
        labels.setAlias(id, "production", GENESIS);
        vm.expectRevert(reason);
        vm.prank(caller);
        labels.removeAlias(id, "production");
        refusedOf(id, caller, GENESIS, reason);
    }

    function refusedOf(ModelId id, address caller, bytes32 digest, bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(caller);
        labels.addTag(id, digest, "audited");
        vm.expectRevert(reason);
        vm.prank(caller);
        labels.removeTag(id, digest, "audited");
        vm.expectRevert(reason);
        vm.prank(caller);
        labels.addNote(id, digest, "said");
    }

    function test_constants_are_the_specified_ones() public view {
        same(labels.MAX_NOTE(), 280, "MAX_NOTE");
        same(address(labels.CAIRN()), address(cairn), "CAIRN");
    }

    function test_nobody_but_the_owner_labels() public {
        setAlias("production", GENESIS);
        address[4] memory callers = [STRANGER, participants[0], aggregators[0], address(cairn)];
        for (uint256 i = 0; i < callers.length; ++i) {
            refused(modelId, callers[i], notOwner(callers[i]));
        }
    }

    function test_a_model_that_is_not_there_has_no_labels() public {
        bytes memory reason = abi.encodeWithSelector(ICairn.UnknownModel.selector, bytes32("nobody"));
        refused(ModelId.wrap("nobody"), OWNER, reason);
        refused(ModelId.wrap("nobody"), address(0), reason);
    }

    function test_labels_follow_the_owner_that_cairn_knows() public {
        setAlias("production", GENESIS);
        vm.prank(OWNER);
        cairn.transferOwnership(modelId, STRANGER);
        refused(modelId, STRANGER, notOwner(STRANGER)); // offered is not owned
        vm.prank(STRANGER);
        cairn.acceptOwnership(modelId);
        refused(modelId, OWNER, notOwner(OWNER));
        same(labels.aliasOf(modelId, "production"), GENESIS, "an alias stays");
        vm.prank(STRANGER);
        labels.setAlias(modelId, "production", NEXT);
        same(labels.aliasOf(modelId, "production"), NEXT, "the new owner's");
    }

    function test_an_alias_names_a_version_moves_and_goes() public {
        same(labels.aliasOf(modelId, "production"), 0, "none yet");
        expectEvent(address(labels));
        emit ILabels.AliasSet(modelId, GENESIS, OWNER, "production");
        setAlias("production", GENESIS);
        same(labels.aliasOf(modelId, "production"), GENESIS, "set");
        setAlias("staging", NEXT);
        expectEvent(address(labels));
        emit ILabels.AliasSet(modelId, NEXT, OWNER, "production");
        setAlias("production", NEXT);
        same(labels.aliasOf(modelId, "production"), NEXT, "moved");
        expectEvent(address(labels));
        emit ILabels.AliasRemoved(modelId, NEXT, OWNER, "production");
        vm.prank(OWNER);
        labels.removeAlias(modelId, "production");
        same(labels.aliasOf(modelId, "production"), 0, "removed");
        same(labels.aliasOf(modelId, "staging"), NEXT, "the other stays");
        vm.expectRevert(abi.encodeWithSelector(ILabels.UnknownAlias.selector, modelId, "production"));
        vm.prank(OWNER);
        labels.removeAlias(modelId, "production");
    }

    function test_aliases_of_two_models_are_apart() public {
        setAlias("production", NEXT);
        vm.prank(STRANGER);
        ModelId other = cairn.registerModel(GENESIS, GENESIS_ROOT, REST);
        same(labels.aliasOf(other, "production"), 0, "not of the other");
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownVersion.selector, other, NEXT));
        vm.prank(STRANGER);
        labels.setAlias(other, "production", NEXT);
    }

    function test_a_version_that_is_not_known_has_no_labels(bytes32 digest) public {
        vm.assume(digest != GENESIS && digest != NEXT);
        vm.expectRevert(unknown(digest));
        setAlias("production", digest);
        refusedOf(modelId, OWNER, digest, unknown(digest));
    }

    function test_a_result_has_no_labels_before_it_is_finalized() public {
        uint64 number = open();
        commitAll(number);
        forward(COMMIT + PUBLISH);
        agree(number, someResult("version"));
        forward(CHALLENGE); // nothing can change it, and yet the head has not moved
        vm.expectRevert(unknown("version"));
        setAlias("production", "version");
        refusedOf(modelId, OWNER, "version", unknown("version"));
        cairn.finalizeRound(modelId, number, someResult("version"));
        setAlias("production", "version");
        same(labels.aliasOf(modelId, "production"), "version", "once finalized");
    }

    function test_a_deprecated_version_keeps_its_alias_and_is_given_none() public {
        setAlias("production", GENESIS);
        vm.prank(OWNER);
        cairn.deprecateVersion(modelId, GENESIS, "reason", 0);
        same(labels.aliasOf(modelId, "production"), GENESIS, "kept");
        vm.expectRevert(abi.encodeWithSelector(ICairn.VersionIsDeprecated.selector, modelId, GENESIS));
        setAlias("staging", GENESIS);
        vm.startPrank(OWNER);
        labels.addTag(modelId, GENESIS, "withdrawn");
        labels.addNote(modelId, GENESIS, "why");
        vm.stopPrank();
    }

    function test_names_of_other_characters_or_lengths_are_refused() public {
        string[14] memory names = [
            "", "Production", "PRODUCTION", "pro duction", "pro/d", "a@b", "p\x00", "p\n", unicode"pröd", "a`", "z{", "a,", "a:",
            "a2345678901234567890123456789zzz"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            vm.expectRevert(badName(names[i], CHARACTERS));
            setAlias(names[i], GENESIS);
            vm.expectRevert(badName(names[i], CHARACTERS));
            vm.prank(OWNER);
            labels.addTag(modelId, GENESIS, names[i]);
            vm.expectRevert(badName(names[i], CHARACTERS));
            vm.prank(OWNER);
            labels.removeTag(modelId, GENESIS, names[i]);
        }
    }

    function test_names_that_may_name_a_version_otherwise_are_refused() public {
        string[19] memory names = [
            "head", "genesis", "round-7", "round-", "beef", "a", "f", "0", "7", "2026-11-01", "0xbeef", "v1", "v9", "v2.1",
            "baf", "bafyreia", "-a", "_a", ".z"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            vm.expectRevert(badName(names[i], OWN_NAME));
            setAlias(names[i], GENESIS);
        }
    }

    function test_names_next_to_those_are_taken() public {
        string[15] memory names = [
            "heads", "ahead", "genesis-2", "round", "rounds-7", "beefy", "g", "z", "v", "va", "x1", "bag", "production_2.1-rc",
            "z9", "a23456789012345678901234567890z"
        ];
        for (uint256 i = 0; i < names.length; ++i) {
            setAlias(names[i], GENESIS);
            same(labels.aliasOf(modelId, names[i]), GENESIS, names[i]);
        }
    }

    function test_any_bytes_are_an_alias_or_refused(bytes calldata name) public {
        string memory text = string(name);
        bytes memory reason = badName(text, CHARACTERS);
        bool fits = name.length > 0 && name.length < 32;
        for (uint256 i = 0; fits && i < name.length; ++i) {
            uint8 c = uint8(name[i]);
            fits = (c > 96 && c < 123) || (c > 47 && c < 58) || c == 45 || c == 46 || c == 95;
        }
        vm.assume(!fits); // random bytes hardly ever fit
        vm.expectRevert(reason);
        setAlias(text, GENESIS);
    }

    function test_any_name_of_the_characters_is_an_alias_where_it_is_no_other_name(bytes calldata any) public {
        bytes memory characters = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
        bytes memory name = new bytes(within(any.length, 1, 31));
        name[0] = "x"; // no hex digit, and the beginning of nothing else
        for (uint256 i = 1; i < name.length; ++i) {
            name[i] = characters[i < any.length ? uint8(any[i]) % characters.length : i];
        }
        setAlias(string(name), NEXT);
        same(labels.aliasOf(modelId, string(name)), NEXT, "set");
        vm.prank(OWNER);
        labels.addTag(modelId, GENESIS, string(name));
    }

    function test_a_tag_is_set_and_taken_as_often_as_one_says() public {
        string[3] memory tags = ["audited", "2026-11-01", "head"];
        for (uint256 i = 0; i < tags.length; ++i) {
            for (uint256 again = 0; again < 2; ++again) {
                expectEvent(address(labels));
                emit ILabels.VersionTagged(modelId, NEXT, OWNER, tags[i]);
                vm.prank(OWNER);
                labels.addTag(modelId, NEXT, tags[i]);
            }
            expectEvent(address(labels));
            emit ILabels.VersionUntagged(modelId, NEXT, OWNER, tags[i]);
            vm.prank(OWNER);
            labels.removeTag(modelId, NEXT, tags[i]);
        }
    }

    function test_a_note_is_any_bytes_of_1_to_280(bytes calldata any) public {
        bytes memory note = any.length == 0 || any.length > 280 ? bytes(hex"ff1b5d") : any;
        expectEvent(address(labels));
        emit ILabels.NoteAdded(modelId, NEXT, OWNER, note);
        vm.prank(OWNER);
        labels.addNote(modelId, NEXT, note);
    }

    function test_a_note_has_an_end() public {
        uint256[3] memory lengths = [uint256(0), 281, 10_000];
        for (uint256 i = 0; i < lengths.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ILabels.BadNote.selector, lengths[i], 280));
            vm.prank(OWNER);
            labels.addNote(modelId, NEXT, new bytes(lengths[i]));
        }
        vm.startPrank(OWNER);
        labels.addNote(modelId, NEXT, new bytes(280));
        labels.addNote(modelId, NEXT, new bytes(1));
        vm.stopPrank();
    }

    function test_labels_change_nothing_of_the_model() public {
        uint64 number = openTo(Phase.Challenge);
        bytes32 before = keccak256(abi.encode(cairn.model(modelId), cairn.round(modelId, number)));
        vm.startPrank(OWNER);
        labels.setAlias(modelId, "production", GENESIS);
        labels.addTag(modelId, GENESIS, "audited");
        labels.addNote(modelId, GENESIS, "said");
        labels.removeAlias(modelId, "production");
        vm.stopPrank();
        same(keccak256(abi.encode(cairn.model(modelId), cairn.round(modelId, number))), before, "as it was");
    }

    function test_money_is_refused() public {
        vm.deal(OWNER, 1 ether);
        vm.prank(OWNER);
        (bool taken,) = address(labels).call{value: 1}(abi.encodeCall(ILabels.removeAlias, (modelId, "production")));
        check(!taken, "by a function");
        vm.prank(OWNER);
        (taken,) = address(labels).call{value: 1}("");
        check(!taken, "by none");
    }
}
