// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Contribution, HeadKind, Membership, Target} from "../../interfaces/IDisputed.sol";
import {Demanding} from "./Demanding.sol";
import {World} from "./Disputes.sol";

/// @notice Heads as honest people anchor them.
abstract contract Headed is Demanding {
    /// What everybody's manifests hash to here.
    bytes32 internal constant BODY = "manifest";
    bytes9 private constant LINK = hex"d82a58250001711220";

    /// @dev With any number, so that it can be another round's.
    function updateHead(Contribution memory c, uint64 number) internal view returns (bytes memory) {
        bytes memory own = abi.encodePacked(c.participant, c.tensorRoot, c.weight, c.steps);
        return bytes.concat(hex"8258c101", roundFields(number), own, LINK, BODY);
    }

    function versionHead(World memory w, uint64 number) internal view returns (bytes memory) {
        return versionHead(w, number, BODY);
    }

    function versionHead(World memory w, uint64 number, bytes32 body) internal view returns (bytes memory) {
        bytes memory own = bytes.concat(abi.encode(w.result.roots), w.result.aggregateRoot);
        return bytes.concat(hex"8259014502", roundFields(number), own, LINK, body);
    }

    function reportHead(World memory w, uint64 number) internal view returns (bytes memory) {
        bytes32 running = cairn.round(modelId, current).runningHash;
        bytes memory lists = abi.encode(running, w.result.aggregateRoot, w.result.contributionsRoot);
        bytes memory sums =
            abi.encode(w.result.contributions, w.result.totalWeight, w.result.totalSteps, w.result.divisor);
        return bytes.concat(hex"8259016503", roundFields(number), lists, sums, LINK, BODY);
    }

    /// @dev The same with the Gram part.
    function selectionHead(World memory w, uint64 number, bytes memory gram) internal view returns (bytes memory) {
        bytes memory plain = reportHead(w, number);
        bytes memory fields = new bytes(plain.length - 45);
        for (uint256 i = 0; i < fields.length; ++i) {
            fields[i] = plain[4 + i];
        }
        return bytes.concat(hex"825901a5", fields, gram, LINK, BODY);
    }

    function roundFields(uint64 number) internal view returns (bytes memory) {
        return abi.encodePacked(
            uint64(block.chainid), address(cairn), modelId, number, cairn.model(modelId).head, somePlan().digest
        );
    }

    /// @dev Version and report are named by their heads.
    function name(World memory w) internal view {
        w.result.versionDigest = sha256(versionHead(w, current));
        w.result.reportDigest = sha256(reportHead(w, current));
    }

    function dispute(World memory w) internal override returns (Target memory) {
        anchor(w);
        name(w);
        agreed(w);
        return targetOf(w);
    }

    function digestOf(Contribution memory c) internal view virtual override returns (bytes32) {
        return sha256(updateHead(c, current));
    }

    function headOf(World memory w, HeadKind kind, uint256 index) internal view returns (bytes memory) {
        if (kind == HeadKind.Update) return updateHead(w.list[index], current);
        return kind == HeadKind.Version ? versionHead(w, current) : reportHead(w, current);
    }

    function headCall(Target memory target, HeadKind kind, Membership memory m, bytes memory head)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(challenges.convictHead, (target, kind, m, head));
    }
}
