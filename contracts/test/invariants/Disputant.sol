// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Phase, Result, RoundId} from "../../interfaces/ICairn.sol";
import {Conviction, Demand, Demanded, Fault, OpenDemands} from "../../interfaces/ICourt.sol";
import {Opening, Tree} from "../../interfaces/IDisputed.sol";
import {World} from "../support/Disputes.sol";
import {Leaves, Trees} from "../support/Trees.sol";
import {Lies} from "./Lies.sol";

/// @notice Plays honest and lying aggregators and those who challenge them around one model. What the rules promise is
/// done without looking away: a move that must succeed reverts if it does not, and one that must not is seen to fail.
contract Disputant is Lies {
    struct Asked {
        Demanded demanded;
        Tree tree;
        /// Of an honest result; else of the lie of this kind.
        bool sound;
        uint256 kind;
    }

    struct Voided {
        RoundId roundId;
        bytes32 tally;
    }

    Asked[] internal _asked;
    Voided[] internal _voided;
    /// What the windows of this round are about: an honest result, or a lie of a kind.
    bool internal _sound;
    uint256 internal _kind;
    /// What each has put into its bond and not taken out again.
    mapping(address account => uint256) public putIn;

    constructor() {
        setUp();
        for (uint256 i = 0; i < everyone.length; ++i) {
            vm.deal(everyone[i], 1e9 ether);
        }
        World memory w = honest(VALUES, 24);
        enroll(w);
        _arm();
        begin(w);
    }

    // ----------------------------------------------------------------------------------------------------------- Moves

    /// @notice The next step of an ordinary round, so that short runs get through several.
    function advance(uint256 seed) external {
        Phase phase = cairn.phase(modelId, current);
        if (phase == Phase.Aggregate) {
            if (seed % 2 == 0) attestHonest();
            else lie(seed >> 8);
        } else if (phase == Phase.Challenge) {
            if (!_sound && seed % 4 != 0) convict(seed >> 8);
            else pass(seed >> 8);
        } else {
            finalize();
            expel();
            nextRound();
        }
    }

    function nextRound() public {
        Phase phase = cairn.phase(modelId, current);
        bool ended = phase == Phase.Cancelled || cairn.round(modelId, current).finalized;
        if (!ended || cairn.round(modelId, current).unexpelled != 0) return;
        World memory w = honest(VALUES, 24);
        w.roots = rootsOf(Trees.rootOf(w.parent), REST);
        // The owner goes on from the same values each time: a lie that nobody challenged is replaced.
        vm.startPrank(OWNER);
        cairn.publishVersion(
            modelId, cairn.model(modelId).head, keccak256(abi.encode("v", ++_fresh)), Trees.rootOf(w.parent), REST
        );
        vm.stopPrank();
        _arm();
        begin(w);
    }

    /// @notice Both honest aggregators attest what is so.
    function attestHonest() public {
        if (cairn.phase(modelId, current) != Phase.Aggregate) return;
        World memory w = soundWorld();
        _attest(honestOnes, w.result);
        (_sound, _digest) = (true, w.result.versionDigest);
    }

    /// @notice Both liars attest what is not so, if they have the role.
    function lie(uint256 seed) public {
        if (cairn.phase(modelId, current) != Phase.Aggregate) return;
        for (uint256 i = 0; i < 2; ++i) {
            if (cairn.member(modelId, liars[i]).roles & A == 0) return;
            bytes32 held = cairn.attestation(modelId, current, liars[i]);
            if (held != 0) return;
        }
        (_sound, _kind, _digest) = (false, seed % KINDS, keccak256(abi.encode("lie", ++_fresh)));
        _attest(liars, worldOf(_kind, _digest).result);
    }

    /// @notice Whoever holds the chunks convicts a lie that is in its window, having sealed the claim before.
    function convict(uint256 seed) public {
        if (!_disputed() || _sound || _kind == HIDDEN) return;
        World memory w = worldOf(_kind, _digest);
        bytes32 held = tally(w);
        bytes32 seal = keccak256(abi.encode(CHALLENGER, SALT, claimOfKind(w, _kind)));
        if (seed % 2 == 0) court.sealClaim(seal);
        succeeds(CHALLENGER, conviction(w, _kind));
        check(cairn.dispute(modelId, current).tally == 0, "void");
        _voided.push(Voided(roundId(current), held));
    }

    /// @notice No challenge convicts an honest result.
    function challengeFalsely(uint256 kind) external {
        if (!_disputed() || !_sound) return;
        World memory w = soundWorld();
        bytes memory call = conviction(w, kind % HIDDEN);
        vm.prank(CHALLENGER);
        (bool done,) = address(challenges).call(call);
        check(!done, "an honest result is not convicted");
    }

    /// @notice Some steps of an addition, or none; the first ones move the window.
    function dawdle(uint256 seed) external {
        if (!_disputed()) return;
        bytes memory call = additionOf(_world(), seed % 3);
        uint40 end = cairn.dispute(modelId, current).challengeDeadline;
        bool moved = seed % 3 == 0 || cairn.round(modelId, current).extended;
        succeeds(CHALLENGER, call);
        same(cairn.dispute(modelId, current).challengeDeadline, moved ? end : end + CHALLENGE, "moved once");
    }

    /// @notice A demand for any leaf, now and then past the end.
    function demand(uint256 seed) public {
        if (!_disputed()) return;
        World memory w = _world();
        uint256 which = seed % 5;
        uint64[] memory indices = new uint64[](1 + (seed >> 10) % 3);
        for (uint64 i = 0; i < indices.length; ++i) {
            indices[i] = uint64((seed >> 8) + i * (seed >> 12)) % 4; // now and then one stands there twice
        }
        bytes memory call = which == 4
            ? abi.encodeCall(court.demandContributions, (targetOf(w), indices))
            : abi.encodeCall(court.demandChunks, (targetOf(w), basisOf(w), Tree(which), member(w, 1), indices));
        bytes32 root = which == 4 ? w.result.contributionsRoot : rootIn(w, Tree(which));
        if (root == 0) return;
        uint256 known = _asked.length;
        for (uint256 i = 0; i < indices.length; ++i) {
            _note(Asked(demandedOf(w, root, which == 4, indices[i]), Tree(which % 4), _sound, _kind), known);
        }
        bool moved = cairn.round(modelId, current).extended;
        uint256 end = cairn.dispute(modelId, current).challengeDeadline + (moved ? 0 : CHALLENGE);
        bool fits = time() + 2 * answerDuration + lateDuration <= end;
        vm.prank(CHALLENGER);
        (bool done,) = address(court).call{value: indices.length * ((seed >> 16) % 1e17)}(call);
        check(done == (fits && _asked.length > known), "new, and as long as it can be answered");
        while (!done && _asked.length > known) {
            _asked.pop();
        }
    }

    /// @dev If it is new, and not among those noted from `known` on.
    function _note(Asked memory a, uint256 known) private {
        if (court.demand(a.demanded).deadline != 0) return;
        for (uint256 i = known; i < _asked.length; ++i) {
            if (_asked[i].demanded.index == a.demanded.index) return;
        }
        _asked.push(a);
    }

    /// @notice Liars are asked and let the answer time pass before they show anything.
    function tarry(uint256 seed) external {
        if (!_disputed() || _sound) return;
        uint256 known = _asked.length;
        demand(seed);
        if (_asked.length == known) return;
        forward(answerDuration);
        answerLate(known, seed >> 32);
    }

    /// @notice Liars show late what they can, and others do it for them: it costs liars alone, and half a bond at most.
    function answerLate(uint256 which, uint256 who) public {
        if (_asked.length == 0) return;
        Asked memory a = _asked[which % _asked.length];
        Demand memory d = court.demand(a.demanded);
        bool now_ = _disputed() && cairn.dispute(modelId, current).tally == a.demanded.tally;
        if (d.closed || time() < d.deadline || time() >= d.lateDeadline || !now_) return;
        (bool held, Opening memory o) = _openingOf(a);
        if (!held) return;
        uint128[2] memory before = [court.bond(modelId, liars[0]).amount, court.bond(modelId, liars[1]).amount];
        address[] memory all = a.sound ? pair(honestOnes[0], honestOnes[1]) : pair(liars[0], liars[1]);
        succeeds(everyone[who % everyone.length], lateCall(a.demanded, o, all));
        for (uint256 i = 0; i < 2; ++i) {
            uint256 bond = court.bond(modelId, liars[i]).amount;
            check(bond >= BOND / 2 && before[i] - bond <= d.deposit, "half stays");
            putIn[liars[i]] = bond;
        }
    }

    /// @notice Time passes. Before it does, honest aggregators have answered what they were asked; liars answer at times.
    function pass(uint256 seed) public {
        for (uint256 i = 0; i < _asked.length; ++i) {
            if (_asked[i].sound || (seed >> 16) % 2 == 0) _answer(i);
        }
        forward(within(seed, 1, seed % 3 == 0 ? CHALLENGE : ANSWER));
        for (uint256 i = 0; i < _asked.length; ++i) {
            if ((seed >> 20) % 2 == 0) answerLate(i, seed >> 32);
        }
        for (uint256 i = 0; i < _asked.length; ++i) {
            if ((seed >> 24) % 2 == 0) _close(i);
        }
    }

    function close(uint256 which) external {
        if (_asked.length != 0) _close(which % _asked.length);
    }

    function finalize() public {
        if (cairn.phase(modelId, current) != Phase.Final || cairn.round(modelId, current).finalized) return;
        cairn.finalizeRound(modelId, current, _world().result);
    }

    /// @notice Anyone names everyone; only who attested a void result loses something.
    function expel() public {
        cairn.expel(modelId, current, everyone);
        for (uint256 i = 0; i < 2; ++i) {
            if (cairn.member(modelId, liars[i]).roles & A == 0) putIn[liars[i]] = 0;
        }
    }

    function reveal(uint256 which) external {
        if (_voided.length == 0) return;
        Voided memory v = _voided[which % _voided.length];
        Demanded memory none;
        vm.prank(CHALLENGER);
        (bool done,) =
            address(court).call(abi.encodeCall(court.revealClaim, (v.roundId, v.tally, SALT, none)));
        Conviction memory made = court.conviction(v.roundId, v.tally);
        check(!done || (made.leader == CHALLENGER && time() < made.revealDeadline), "who sealed it leads");
    }

    function collect(uint256 which) external {
        if (_voided.length == 0) return;
        Voided memory v = _voided[which % _voided.length];
        if (time() < court.conviction(v.roundId, v.tally).revealDeadline) return;
        court.collectReward(v.roundId, v.tally);
    }

    /// @notice Takes out what can be taken out: nothing while a round that is not over may yet need it.
    function release(uint256 who, uint128 amount) external {
        address one = everyone[who % everyone.length];
        if (putIn[one] == 0) return;
        amount = uint128(within(amount, 1, putIn[one]));
        Phase phase = cairn.phase(modelId, current);
        bool attested = court.bond(modelId, one).lockedRound == current;
        bytes32 held = cairn.attestation(modelId, current, one);
        bool over = phase == Phase.Final || phase == Phase.Cancelled;
        bool free = !attested || (over && uint256(cairn.standing(modelId, current, held)) == 0);
        vm.prank(one);
        (bool done,) = address(court).call(abi.encodeCall(court.releaseBond, (modelId, amount)));
        check(done == free, "free once nothing can need it");
        if (done) putIn[one] -= amount;
    }

    function withdraw(uint256 who, uint256 payee) external {
        address one = everyone[who % everyone.length];
        address to = everyone[payee % everyone.length];
        uint256 owed = court.credit(one);
        uint256 before = to.balance;
        if (owed == 0) return;
        vm.prank(one);
        court.withdraw(to);
        same(to.balance, before + owed, "paid");
    }

    // ----------------------------------------------------------------------------------------------------------- Reads

    /// @notice Everything that is kept for somebody, or burnt.
    function accounted() external view returns (uint256 sum) {
        sum = court.burnt();
        for (uint256 i = 0; i < everyone.length; ++i) {
            sum += court.bond(modelId, everyone[i]).amount + court.credit(everyone[i]);
        }
        for (uint256 i = 0; i < _voided.length; ++i) {
            sum += court.reward(_voided[i].roundId, _voided[i].tally);
        }
        for (uint256 i = 0; i < _asked.length; ++i) {
            Demand memory d = court.demand(_asked[i].demanded);
            if (!d.closed) sum += d.deposit;
        }
    }

    /// @notice What the court counts as open must be what is, of each result that was asked for anything.
    function countsOpen() external view returns (bool) {
        for (uint256 i = 0; i < _asked.length; ++i) {
            Demanded memory one = _asked[i].demanded;
            (uint256 count, uint256 deposits) = (0, 0);
            for (uint256 j = 0; j < _asked.length; ++j) {
                Demand memory d = court.demand(_asked[j].demanded);
                bool other = RoundId.unwrap(_asked[j].demanded.roundId) != RoundId.unwrap(one.roundId);
                if (d.closed || other || _asked[j].demanded.tally != one.tally) continue;
                (count, deposits) = (count + 1, deposits + d.deposit);
            }
            OpenDemands memory open = court.openDemands(one.roundId, one.tally);
            if (open.count != count || open.deposits != deposits || open.lateBurnt > BOND) return false;
        }
        return true;
    }

    function inside() external view returns (uint256) {
        return address(court).balance;
    }

    function bondOf(address account) external view returns (uint256) {
        return court.bond(modelId, account).amount;
    }

    function rolesOf(address account) external view returns (uint8) {
        return cairn.member(modelId, account).roles;
    }

    /// @notice Honest people finish what is open and a whole round after it, in as many moves as stand here.
    function goOn() external {
        if (cairn.phase(modelId, current) == Phase.Challenge && !_sound && _kind != HIDDEN) convict(0);
        if (cairn.phase(modelId, current) == Phase.Challenge) _finish();
        if (cairn.phase(modelId, current) == Phase.Aggregate) attestHonest();
        if (cairn.phase(modelId, current) == Phase.Challenge) _finish();
        finalize();
        expel();
        uint64 before = current;
        nextRound();
        same(current, before + 1, "the next round is open");
        attestHonest();
        _finish();
        finalize();
        check(cairn.round(modelId, current).finalized, "and was finalized by honest people");
    }

    function _finish() private {
        for (uint256 i = 0; i < _asked.length; ++i) {
            if (_asked[i].sound) _answer(i);
        }
        vm.warp(cairn.round(modelId, current).challengeDeadline);
    }

    // ----------------------------------------------------------------------------------------------------------- Parts

    function _disputed() private view returns (bool) {
        return cairn.phase(modelId, current) == Phase.Challenge;
    }

    function _world() private view returns (World memory) {
        return _sound ? soundWorld() : worldOf(_kind, _digest);
    }

    /// @dev Roles and bonds for everyone, as the owner of a small model would see to it.
    function _arm() private {
        address[4] memory all = [honestOnes[0], honestOnes[1], liars[0], liars[1]];
        for (uint256 i = 0; i < 4; ++i) {
            vm.prank(OWNER);
            cairn.grantRoles(modelId, all[i], A);
            _deposit(all[i]);
        }
    }

    function _deposit(address one) private {
        uint256 held = court.bond(modelId, one).amount;
        if (held >= BOND) return;
        vm.prank(one);
        court.depositBond{value: BOND - held}(modelId);
        putIn[one] = BOND;
    }

    function _attest(address[2] memory two, Result memory result) private {
        for (uint256 i = 0; i < 2; ++i) {
            if (cairn.attestation(modelId, current, two[i]) != 0) continue;
            _deposit(two[i]);
            attest(two[i], current, result);
        }
    }

    function _answer(uint256 i) private {
        Asked memory a = _asked[i];
        Demand memory d = court.demand(a.demanded);
        bool now_ = cairn.dispute(modelId, current).tally == a.demanded.tally && a.demanded.tally != 0;
        if (d.closed || time() >= d.deadline || !now_) return;
        (bool held, Opening memory o) = _openingOf(a);
        if (held) succeeds(honestOnes[i % 2], abi.encodeCall(court.showLeaf, (a.demanded, o)));
    }

    /// @dev Of the result in its window.
    function _openingOf(Asked memory a) private view returns (bool held, Opening memory o) {
        World memory w = _world();
        if (!a.sound && a.kind == HIDDEN && a.demanded.root == w.result.aggregateRoot) return (false, o);
        Leaves memory leaves = a.demanded.entries == 1 ? Trees.listOf(w.list) : blobIn(w, a.tree);
        if (a.demanded.index < leaves.data.length) o = Trees.open(leaves, a.demanded.index);
        else o.counted = Trees.countedOf(leaves);
        return (true, o);
    }

    function _close(uint256 i) private {
        Asked memory a = _asked[i];
        Demand memory d = court.demand(a.demanded);
        if (d.closed || time() < d.lateDeadline) return;
        bytes32 standing = cairn.dispute(modelId, current).tally;
        bool voids = standing != 0 && standing == a.demanded.tally;
        if (RoundId.unwrap(a.demanded.roundId) != RoundId.unwrap(roundId(current))) return _closeOld(a.demanded);
        succeeds(CHALLENGER, abi.encodeCall(court.closeDemand, (modelId, current, a.demanded)));
        check((cairn.dispute(modelId, current).tally == 0) == (voids || standing == 0), "void, if it was still open");
        if (voids) _voided.push(Voided(a.demanded.roundId, a.demanded.tally));
        if (voids) {
            check(
                uint256(court.conviction(a.demanded.roundId, standing).fault) == uint256(Fault.Unanswered),
                "as such"
            );
        }
    }

    function _closeOld(Demanded memory d) private {
        for (uint64 n = current; n != 0; --n) {
            if (RoundId.unwrap(roundId(n)) != RoundId.unwrap(d.roundId)) continue;
            succeeds(CHALLENGER, abi.encodeCall(court.closeDemand, (modelId, n, d)));
        }
    }
}
