// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IChallenges} from "../../interfaces/IChallenges.sol";
import {Demanded, Fault, ICourt, Part} from "../../interfaces/ICourt.sol";
import {Contribution, HeadKind, IDisputed, Membership, Opening, Target} from "../../interfaces/IDisputed.sol";
import {World} from "../support/Disputes.sol";
import {Headed} from "../support/Headed.sol";

/// @notice What a head says is held against what was anchored with its digest.
contract HeadsTest is Headed {
    function kindOf(uint8 seed) internal pure returns (HeadKind) {
        return HeadKind(seed % 3);
    }

    /// What participant 1 commits, if not its own head's digest.
    bytes32 private _digest;

    function digestOf(Contribution memory c) internal view override returns (bytes32) {
        return _digest != 0 && c.participant == participants[1] ? _digest : super.digestOf(c);
    }

    // -------------------------------------------------------------------------------------------------------- convictHead

    function test_convictHead_reverts_on_what_honest_people_anchor() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        for (uint8 k = 0; k < 9; ++k) {
            bytes memory head = headOf(w, kindOf(k), k / 3);
            refuses(headCall(target, kindOf(k), member(w, k / 3), head), nothingWrong(Fault.Head));
        }
    }

    function test_convictHead_reverts_on_bytes_that_hash_to_something_else() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        for (uint8 k = 0; k < 3; ++k) {
            bytes memory head = headOf(w, kindOf(k), 1);
            bytes32 expected = sha256(head);
            for (uint256 place = 0; place < head.length; place += 7) {
                head[place] ^= 0x10;
                refuses(
                    headCall(target, kindOf(k), member(w, 1), head),
                    abi.encodeWithSelector(IChallenges.OtherHead.selector, sha256(head), expected)
                );
                head[place] ^= 0x10;
            }
            refuses(
                headCall(target, kindOf(k), member(w, 1), ""),
                abi.encodeWithSelector(IChallenges.OtherHead.selector, sha256(""), expected)
            );
        }
    }

    function test_convictHead_reverts_on_what_is_not_in_the_list() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Membership memory m = member(w, 1);
        bytes memory head = updateHead(w.list[1], current);
        m.contribution.weight += 1;
        refuses(headCall(target, HeadKind.Update, m, head), badProof(w.result.contributionsRoot, 1));
        m = member(w, 1);
        m.counted.count = 4;
        refuses(headCall(target, HeadKind.Update, m, head), badCount(w.result.contributionsRoot));
    }

    function test_convictHead_reverts_without_a_window() public {
        World memory w = honest(5, 24);
        anchor(w);
        name(w);
        refuses(
            headCall(targetOf(w), HeadKind.Version, nobody(), versionHead(w, current)),
            abi.encodeWithSelector(IDisputed.NotDisputed.selector, modelId, current, hashOf(w.result))
        );
    }

    function test_convictHead_convicts_a_head_with_any_other_byte(uint8 seed, uint16 place, uint8 bits) public {
        World memory w = honest(5, 24);
        HeadKind kind = kindOf(seed);
        ready(w, kind);
        bytes memory head = honestHead(w, kind);
        // But for the last 32 bytes, which may say what they like.
        head[place % (head.length - 32)] ^= bytes1(uint8(within(bits, 1, 255)));
        Target memory target = anchoredBy(w, kind, head);
        convicts(w, Fault.Head, Part.Whole, 0, headCall(target, kind, member(w, 1), head));
    }

    function test_convictHead_leaves_the_manifest_to_readers() public {
        for (uint8 k = 0; k < 3; ++k) {
            World memory w = honest(5, 24);
            ready(w, kindOf(k));
            bytes memory head = honestHead(w, kindOf(k));
            for (uint256 i = 1; i <= 32; ++i) {
                head[head.length - i] ^= bytes1(uint8(i));
            }
            Target memory target = anchoredBy(w, kindOf(k), head);
            refuses(headCall(target, kindOf(k), member(w, 1), head), nothingWrong(Fault.Head));
        }
    }

    function test_convictHead_convicts_what_is_no_head() public {
        uint16[4] memory lengths = [0, 41, 300, 5000];
        for (uint8 k = 0; k < 12; ++k) {
            World memory w = honest(5, 24);
            ready(w, kindOf(k));
            bytes memory anything = new bytes(lengths[k / 3]);
            Target memory target = anchoredBy(w, kindOf(k), anything);
            convicts(w, Fault.Head, Part.Whole, 0, headCall(target, kindOf(k), member(w, 1), anything));
        }
    }

    function test_convictHead_convicts_a_longer_and_a_shorter_head() public {
        for (uint8 k = 0; k < 6; ++k) {
            World memory w = honest(5, 24);
            ready(w, kindOf(k));
            bytes memory head = honestHead(w, kindOf(k));
            if (k < 3) head = bytes.concat(head, hex"00");
            else assembly { mstore(head, sub(mload(head), 1)) }
            Target memory target = anchoredBy(w, kindOf(k), head);
            convicts(w, Fault.Head, Part.Whole, 0, headCall(target, kindOf(k), member(w, 1), head));
        }
    }

    /// @dev A copied commitment, and an update that was made for another round.
    function test_convictHead_convicts_a_listed_copy_and_a_foreign_round() public {
        listed(false);
        listed(true);
    }

    function listed(bool copied) private {
        World memory w = honest(5, 24);
        ready(w, HeadKind.Update);
        Contribution memory own = undigested(w, 1);
        Contribution memory theirs = undigested(w, 0);
        bytes memory head = copied ? updateHead(theirs, current) : updateHead(own, current + 1);
        Target memory target = anchoredBy(w, HeadKind.Update, head);
        bytes memory honestHead = updateHead(w.list[0], current);
        refuses(headCall(target, HeadKind.Update, member(w, 0), honestHead), nothingWrong(Fault.Head));
        convicts(w, Fault.Head, Part.Whole, 0, headCall(target, HeadKind.Update, member(w, 1), head));
    }

    // ------------------------------------------------------------------------------------------------------- convictTwice

    function test_convictTwice_reverts_on_two_digests_and_on_one_leaf() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        refuses(twiceCall(target, member(w, 0), member(w, 2)), nothingWrong(Fault.Twice));
        refuses(twiceCall(target, member(w, 1), member(w, 1)), badIndex(1, 1));
    }

    function test_convictTwice_reverts_on_what_is_not_in_the_list() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Membership memory forged = member(w, 1);
        forged.contribution.digest = w.list[0].digest;
        refuses(twiceCall(target, member(w, 0), forged), badProof(w.result.contributionsRoot, 1));
        refuses(twiceCall(target, forged, member(w, 0)), badProof(w.result.contributionsRoot, 1));
        forged = member(w, 1);
        forged.counted.count = 2;
        refuses(twiceCall(target, member(w, 0), forged), badCount(w.result.contributionsRoot));
    }

    function test_convictTwice_convicts_one_digest_at_two_places() public {
        twice(false);
        twice(true);
    }

    function twice(bool turned) private {
        World memory w = honest(5, 24);
        ready(w, HeadKind.Update);
        Contribution memory theirs = undigested(w, 0);
        Target memory target = anchoredBy(w, HeadKind.Update, updateHead(theirs, current));
        (uint256 a, uint256 b) = turned ? (1, 0) : (0, 1);
        convicts(w, Fault.Twice, Part.Whole, 0, twiceCall(target, member(w, a), member(w, b)));
    }

    // --------------------------------------------------------------------------------------------------------- demandHead

    function test_demandHead_is_answered_by_the_bytes_alone() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        for (uint8 k = 0; k < 3; ++k) {
            bytes memory head = headOf(w, kindOf(k), 1);
            Demanded memory d = demandedHead(w, head);
            succeeds(CHALLENGER, demandCall(target, kindOf(k), member(w, 1)));
            for (uint256 place = 0; place < head.length; place += 59) {
                Opening memory other = opened(bytes.concat(head));
                other.leaf[place] ^= 0x01;
                refuses(showCall(d, other), badProof(d.root, 0));
            }
            succeeds(STRANGER, showCall(d, opened(head)));
            check(court.demand(d).answered, "shown");
        }
        forward(ANSWER);
        Demanded memory last = demandedHead(w, headOf(w, HeadKind.Report, 1));
        refuses(closeCall(last), abi.encodeWithSelector(ICourt.DemandIsClosed.selector, last.root, 0));
    }

    function test_demandHead_convicts_where_nobody_knows_the_head() public {
        for (uint8 k = 0; k < 3; ++k) {
            World memory w = honest(5, 24);
            ready(w, kindOf(k));
            bytes memory long = new bytes(1025);
            Target memory target = anchoredBy(w, kindOf(k), long);
            Demanded memory d = demandedHead(w, long);
            succeeds(CHALLENGER, demandCall(target, kindOf(k), member(w, 1)));
            refuses(showCall(d, opened(long)), badProof(d.root, 0)); // it could be too long for whoever must charge it
            forward(ANSWER);
            convicts(w, Fault.Unanswered, Part.Service, 0, closeCall(d));
        }
    }

    function test_demandHead_takes_the_longest_answer() public {
        for (uint8 k = 0; k < 3; ++k) {
            World memory w = honest(5, 24);
            ready(w, kindOf(k));
            bytes memory long = new bytes(court.MAX_HEAD());
            Target memory target = anchoredBy(w, kindOf(k), long);
            succeeds(CHALLENGER, demandCall(target, kindOf(k), member(w, 1)));
            succeeds(STRANGER, showCall(demandedHead(w, long), opened(long)));
            convicts(w, Fault.Head, Part.Whole, 0, headCall(target, kindOf(k), member(w, 1), long));
        }
    }

    function test_demandHead_reverts_on_what_is_not_in_the_list_and_when_demanded() public {
        World memory w = honest(5, 24);
        Target memory target = dispute(w);
        Membership memory m = member(w, 1);
        m.contribution.digest = "another";
        refuses(demandCall(target, HeadKind.Update, m), badProof(w.result.contributionsRoot, 1));
        succeeds(CHALLENGER, demandCall(target, HeadKind.Update, member(w, 1)));
        refuses(
            demandCall(target, HeadKind.Update, member(w, 1)),
            abi.encodeWithSelector(ICourt.AlreadyDemanded.selector, w.list[1].digest, 0)
        );
    }

    // ------------------------------------------------------------------------------------------------------------ Support

    /// @dev A model; of a head that is anchored by the result, its round too.
    function ready(World memory w, HeadKind kind) private {
        enroll(w);
        if (kind == HeadKind.Update) return;
        begin(w);
        name(w);
    }

    /// @dev The head that contribution 1, version or report would have.
    function honestHead(World memory w, HeadKind kind) private view returns (bytes memory) {
        if (kind != HeadKind.Update) return headOf(w, kind, 1);
        return updateHead(undigested(w, 1), current);
    }

    /// @dev The round after `ready` agrees on a result with this head in the honest one's place.
    function anchoredBy(World memory w, HeadKind kind, bytes memory head) private returns (Target memory) {
        bytes32 digest = sha256(head);
        if (kind == HeadKind.Update) {
            _digest = digest;
            begin(w);
            name(w);
        }
        if (kind == HeadKind.Version) w.result.versionDigest = digest;
        if (kind == HeadKind.Report) w.result.reportDigest = digest;
        agreed(w);
        return targetOf(w);
    }

    function twiceCall(Target memory target, Membership memory a, Membership memory b) private view returns (bytes memory) {
        return abi.encodeCall(challenges.convictTwice, (target, a, b));
    }

    function demandCall(Target memory target, HeadKind kind, Membership memory m) private view returns (bytes memory) {
        return abi.encodeCall(court.demandHead, (target, kind, m));
    }

    function demandedHead(World memory w, bytes memory head) private view returns (Demanded memory) {
        return Demanded(roundId(current), tally(w), sha256(head), 0, 0, 0);
    }

    function opened(bytes memory head) private pure returns (Opening memory o) {
        o.leaf = head;
    }
}
