// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Dispute, Result} from "../interfaces/ICairn.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Fault, Part} from "../interfaces/ICourt.sol";
import {Contribution, HeadKind, Membership, Target} from "../interfaces/IDisputed.sol";
import {Challenge} from "./Challenge.sol";
import {GramPart} from "./GramPart.sol";

/// @title Heads: what was anchored by its digest alone
abstract contract Heads is Challenge {
    /// @dev A link in DAG-CBOR to the DAG-CBOR block whose sha2-256 follows.
    bytes9 private constant LINK = hex"d82a58250001711220";

    /// @inheritdoc IChallenges
    function convictHead(Target calldata target, HeadKind kind, Membership calldata membership, bytes calldata head)
        external
    {
        Dispute memory found = _open(target);
        bytes32 digest = _digestOf(target, kind, membership);
        bytes32 given = sha256(head);
        if (given != digest) revert OtherHead(given, digest);
        bytes memory expected = _withoutLink(target, found, kind, membership.contribution, GramPart.partOf(head));
        uint256 length = expected.length;
        if (head.length == length + 32 && keccak256(head[:length]) == keccak256(expected)) {
            revert NothingWrong(Fault.Head);
        }
        _convict(target, found, Wrong(Fault.Head, Part.Whole, 0));
    }

    /// @dev What the head is to be, but for the last 32 bytes, the digest of the manifest.
    /// @param gram Of a report: its Gram part, which `Selections` holds against the rules; empty for none.
    function _withoutLink(
        Target calldata target,
        Dispute memory found,
        HeadKind kind,
        Contribution calldata c,
        bytes calldata gram
    ) private view returns (bytes memory) {
        Result calldata r = target.result;
        bytes memory begin = hex"8258c101"; // a list of two, the length of the fields, and their kind
        bytes memory end;
        if (kind == HeadKind.Update) {
            end = abi.encodePacked(c.participant, c.tensorRoot, c.weight, c.steps);
        } else if (kind == HeadKind.Version) {
            (begin, end) = (hex"8259014502", abi.encodePacked(_words(r, 1, 5), r.aggregateRoot));
        } else {
            begin = abi.encodePacked(hex"8259", uint16(357 + gram.length), uint8(3));
            end = abi.encodePacked(found.runningHash, _words(r, 7, 6), gram);
        }
        return abi.encodePacked(
            begin,
            uint64(block.chainid),
            address(CAIRN),
            target.modelId,
            target.number,
            found.parent,
            found.planDigest,
            end,
            LINK
        );
    }

    /// @dev Words of a result as it is encoded: 1 to 5 are the roots, 7 to 12 all after the report's digest.
    // Both parts of the slice are written: where it begins, and its length.
    // slither-disable-next-line write-after-write
    function _words(Result calldata r, uint256 first, uint256 count) private pure returns (bytes calldata words) {
        // slither-disable-next-line assembly
        assembly ("memory-safe") {
            words.offset := add(r, mul(32, first))
            words.length := mul(32, count)
        }
    }
}
