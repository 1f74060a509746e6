// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Phase, Version} from "../../interfaces/ICairn.sol";
import {Base} from "../support/Base.sol";

contract VersionsTest is Base {
    function publish(bytes32 parent, bytes32 digest) internal {
        vm.prank(OWNER);
        cairn.publishVersion(modelId, parent, digest, "root", REST);
    }

    function deprecate(bytes32 digest, bytes32 replacement) internal {
        vm.prank(OWNER);
        cairn.deprecateVersion(modelId, digest, "reason", replacement);
    }

    function unsound(bytes32 digest, bytes32 replacement) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.UnsoundReplacement.selector, modelId, digest, replacement);
    }

    function notEnded(uint64 number, Phase actual) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ICairn.RoundNotEnded.selector, roundId(number), actual);
    }

    function test_publishVersion_reverts_for_unknown_model() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownModel.selector, bytes32("nobody")));
        cairn.publishVersion(ModelId.wrap("nobody"), GENESIS, "v", "root", REST);
    }

    function test_publishVersion_reverts_for_all_but_the_owner() public {
        vm.expectRevert(notOwner(participants[0]));
        vm.prank(participants[0]);
        cairn.publishVersion(modelId, GENESIS, "v", "root", REST);
    }

    function test_publishVersion_reverts_beside_an_open_round_in_every_phase() public {
        Phase[5] memory phases = [Phase.Commit, Phase.Publish, Phase.Aggregate, Phase.Challenge, Phase.Final];
        uint64 number = open();
        commitAll(number);
        for (uint256 i = 0; i < phases.length; ++i) {
            if (phases[i] == Phase.Publish) forward(COMMIT);
            if (phases[i] == Phase.Aggregate) forward(PUBLISH);
            if (phases[i] == Phase.Challenge) agree(number, someResult("r"));
            if (phases[i] == Phase.Final) forward(CHALLENGE);
            vm.expectRevert(notEnded(number, phases[i]));
            vm.prank(OWNER);
            cairn.publishVersion(modelId, GENESIS, "v", "root", REST);
        }
        cairn.finalizeRound(modelId, number, someResult("r"));
        publish("r", "v");
        same(cairn.model(modelId).head, "v", "published once the round ended");
    }

    function test_publishVersion_is_open_after_a_lapsed_round() public {
        openTo(Phase.Cancelled);
        publish(GENESIS, "v");
        same(cairn.model(modelId).head, "v", "head");
    }

    function test_publishVersion_reverts_on_zero_digest() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.ZeroDigest.selector));
        publish(GENESIS, 0);
    }

    function test_publishVersion_reverts_on_unknown_parent() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownVersion.selector, modelId, bytes32("?")));
        publish("?", "v");
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownVersion.selector, modelId, bytes32(0)));
        publish(0, "v");
        // Not even a version that would be its own parent.
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownVersion.selector, modelId, bytes32("v")));
        publish("v", "v");
    }

    function test_publishVersion_overwrites_nothing() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.VersionExists.selector, modelId, GENESIS));
        publish(GENESIS, GENESIS);
        uint64 number = finalized("v1");
        same(number, 1, "round 1");
        vm.expectRevert(abi.encodeWithSelector(ICairn.VersionExists.selector, modelId, bytes32("v1")));
        publish(GENESIS, "v1");
    }

    function test_publishVersion_anchors_and_moves_the_head() public {
        expectEvent(address(cairn));
        emit ICairn.VersionPublished(modelId, "v", GENESIS, "root", REST);
        publish(GENESIS, "v");
        same(cairn.model(modelId).head, "v", "head");
        Version memory made = cairn.version(modelId, "v");
        check(made.known && made.outsideRound && !made.deprecated, "known, outside a round, sound");
        same(made.parent, GENESIS, "parent");
        same(made.roots, hashOf(rootsOf("root", REST)), "roots");
    }

    function test_publishVersion_may_continue_from_a_deprecated_version() public {
        publish(GENESIS, "bad");
        deprecate("bad", GENESIS);
        publish("bad", "repaired");
        same(cairn.version(modelId, "repaired").parent, "bad", "parent");
    }

    function test_versions_of_other_models_are_unknown() public {
        vm.prank(OWNER);
        ModelId other = cairn.registerModel("other", GENESIS_ROOT, REST);
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownVersion.selector, other, GENESIS));
        vm.prank(OWNER);
        cairn.publishVersion(other, GENESIS, "v", "root", REST);
    }

    function test_deprecateVersion_reverts_for_all_but_the_owner() public {
        vm.expectRevert(notOwner(aggregators[0]));
        vm.prank(aggregators[0]);
        cairn.deprecateVersion(modelId, GENESIS, "reason", 0);
    }

    function test_deprecateVersion_reverts_on_unknown_version() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.UnknownVersion.selector, modelId, bytes32("?")));
        deprecate("?", 0);
    }

    function test_deprecateVersion_reverts_on_zero_reason() public {
        vm.expectRevert(abi.encodeWithSelector(ICairn.ZeroDigest.selector));
        vm.prank(OWNER);
        cairn.deprecateVersion(modelId, GENESIS, 0, 0);
    }

    function test_deprecateVersion_reverts_the_second_time() public {
        publish(GENESIS, "v");
        deprecate(GENESIS, 0);
        vm.expectRevert(abi.encodeWithSelector(ICairn.VersionIsDeprecated.selector, modelId, GENESIS));
        deprecate(GENESIS, 0);
    }

    function test_deprecateVersion_of_the_head_needs_a_sound_replacement() public {
        publish(GENESIS, "bad");
        publish(GENESIS, "head");
        deprecate("bad", 0);
        bytes32[4] memory replacements = [bytes32(0), "?", "bad", "head"];
        for (uint256 i = 0; i < replacements.length; ++i) {
            vm.expectRevert(unsound("head", replacements[i]));
            deprecate("head", replacements[i]);
        }
        expectEvent(address(cairn));
        emit ICairn.VersionDeprecated(modelId, "head", "reason", GENESIS);
        deprecate("head", GENESIS);
        same(cairn.model(modelId).head, GENESIS, "head moved");
        check(cairn.version(modelId, "head").deprecated, "deprecated");
    }

    function test_deprecateVersion_of_the_head_reverts_while_a_round_is_open() public {
        publish(GENESIS, "head");
        uint64 number = open();
        vm.expectRevert(notEnded(number, Phase.Commit));
        deprecate("head", GENESIS);
        check(!cairn.version(modelId, "head").deprecated, "still sound");
    }

    function test_deprecateVersion_of_another_takes_no_replacement() public {
        publish(GENESIS, "v");
        vm.expectRevert(unsound(GENESIS, "v"));
        deprecate(GENESIS, "v");
    }

    function test_deprecateVersion_of_another_leaves_head_and_open_round() public {
        publish(GENESIS, "v");
        uint64 number = open();
        expectEvent(address(cairn));
        emit ICairn.VersionDeprecated(modelId, GENESIS, "reason", 0);
        deprecate(GENESIS, 0);
        same(cairn.model(modelId).head, "v", "head");
        check(cairn.version(modelId, GENESIS).deprecated, "deprecated");
        same(cairn.version(modelId, GENESIS).parent, 0, "a genesis still has no parent");
        commitAll(number);
    }

    function test_deprecateVersion_works_on_a_rounds_version() public {
        finalized("v1");
        deprecate("v1", GENESIS);
        Version memory bad = cairn.version(modelId, "v1");
        check(bad.known && bad.deprecated && !bad.outsideRound, "flags");
        same(bad.parent, GENESIS, "parent kept");
        open();
    }
}
