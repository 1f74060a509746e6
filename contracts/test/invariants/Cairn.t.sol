// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Cairn} from "../../Cairn.sol";
import {ModelId, Version} from "../../interfaces/ICairn.sol";
import {Test} from "../support/Test.sol";
import {Handler} from "./Handler.sol";

/// @notice What holds after any sequence of moves.
contract CairnInvariants is Test {
    Handler internal handler;
    Cairn internal cairn;
    ModelId internal modelId;

    struct Selectors {
        address target;
        bytes4[] selectors;
    }

    function setUp() public {
        vm.warp(1_000_000);
        handler = new Handler();
        (cairn, modelId) = (handler.cairn(), handler.modelId());
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() public view returns (Selectors[] memory targets) {
        bytes4[18] memory moves = [
            // Several times, so that rounds get through.
            Handler.advance.selector,
            Handler.advance.selector,
            Handler.advance.selector,
            Handler.advance.selector,
            Handler.pass.selector,
            Handler.setPlan.selector,
            Handler.grant.selector,
            Handler.revoke.selector,
            Handler.openRound.selector,
            Handler.commit.selector,
            Handler.commitEveryone.selector,
            Handler.endCommits.selector,
            Handler.endCommitsWithEnough.selector,
            Handler.attest.selector,
            Handler.finalizeRound.selector,
            Handler.cancelRound.selector,
            Handler.publishVersion.selector,
            Handler.deprecateVersion.selector
        ];
        targets = new Selectors[](1);
        targets[0].target = address(handler);
        targets[0].selectors = new bytes4[](moves.length);
        for (uint256 i = 0; i < moves.length; ++i) {
            targets[0].selectors[i] = moves[i];
        }
    }

    function invariant_running_hashes_are_those_of_the_log() public view {
        for (uint64 number = 1; number <= handler.rounds(); ++number) {
            same(cairn.round(modelId, number).runningHash, handler.replay(number), "running hash");
            same(cairn.round(modelId, number).commitments, handler.commitments(number), "commitments");
        }
    }

    function invariant_nobody_commits_twice() public view {
        for (uint64 number = 1; number <= handler.rounds(); ++number) {
            for (uint256 i = 0; i < 4; ++i) {
                check(handler.committed(number, handler.people(i)) <= 1, "once a round");
            }
        }
    }

    function invariant_the_head_is_known_and_sound() public view {
        Version memory head = cairn.version(modelId, cairn.model(modelId).head);
        check(head.known && !head.deprecated, "head");
    }

    function invariant_at_most_one_round_is_open() public view {
        for (uint64 number = 1; number < handler.rounds(); ++number) {
            check(handler.isEnded(number), "an earlier round has ended");
        }
    }

    function invariant_participants_are_counted() public view {
        uint256 holders;
        for (uint256 i = 0; i < 4; ++i) {
            holders += cairn.member(modelId, handler.people(i)).roles & 1;
        }
        same(cairn.model(modelId).participants, holders, "participants");
    }

    function invariant_finalized_rounds_never_change() public view {
        for (uint64 number = 1; number <= handler.rounds(); ++number) {
            bytes32 before = handler.sealedRound(number);
            if (before == 0) continue;
            same(keccak256(abi.encode(cairn.round(modelId, number))), before, "round");
        }
    }

    function invariant_versions_are_never_overwritten() public view {
        for (uint256 i = 0; i < handler.versionCount(); ++i) {
            bytes32 digest = handler.versions(i);
            same(handler.imprint(digest), handler.sealedVersion(digest), "version");
            bytes32 parent = cairn.version(modelId, digest).parent;
            check(parent == 0 ? i == 0 : cairn.version(modelId, parent).known, "only the genesis has no parent");
        }
    }

    function invariant_votes_are_the_attestations_that_stand() public view {
        for (uint64 number = 1; number <= handler.rounds(); ++number) {
            bytes32[] memory hashes = handler.attested(number);
            for (uint256 i = 0; i < hashes.length; ++i) {
                uint256 standing;
                for (uint256 j = 0; j < 4; ++j) {
                    if (cairn.attestation(modelId, number, handler.people(j)) == hashes[i]) ++standing;
                }
                (uint32 count,) = cairn.votes(modelId, number, hashes[i]);
                same(count, standing, "votes");
                bool agreed = cairn.round(modelId, number).resultHash == hashes[i];
                check((count == cairn.round(modelId, number).quorum) == agreed, "a quorum, and only a quorum, agrees");
            }
        }
    }
}
