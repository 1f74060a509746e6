// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Plan, SignedUpdate} from "../../interfaces/ICairn.sol";
import {IHook} from "../../interfaces/IHook.sol";
import {BurningWallet, FloodingWallet} from "../mocks/Wallet.sol";
import {Base} from "../support/Base.sol";

/// @notice Refuses one participant, and counts whom it was asked for.
contract PickyHook is IHook {
    error NotThisOne();

    address public immutable refused;
    uint256 public asked;

    constructor(address refused_) {
        refused = refused_;
    }

    function onCommit(ModelId, uint64, address participant, bytes32, bytes32, uint32, uint32, bytes calldata)
        external
        returns (bytes4)
    {
        ++asked;
        if (participant == refused) revert NotThisOne();
        return IHook.onCommit.selector;
    }
}

/// @notice Lists of signed updates. `Commits.tree` has the branches.
contract BatchesTest is Base {
    uint256 internal constant COUNT = 12;

    uint64 internal number;
    address[] internal signers;

    function setUp() public override {
        super.setUp();
        vm.startPrank(OWNER);
        for (uint256 key = 100; key < 100 + COUNT; ++key) {
            signers.push(vm.addr(key));
            cairn.grantRoles(modelId, vm.addr(key), P);
        }
        vm.stopPrank();
        number = open();
    }

    function listed() internal view returns (SignedUpdate[] memory list) {
        list = new SignedUpdate[](COUNT);
        for (uint256 i = 0; i < COUNT; ++i) {
            list[i] = updateOf(signers[i]);
            list[i].digest = bytes32(i + 1);
            sign(100 + i, number, list[i]);
        }
    }

    function hashAfter(SignedUpdate[] memory list, uint256 without) internal view returns (bytes32 expected) {
        expected = runningHash(number);
        for (uint256 i = 0; i < list.length; ++i) {
            if (i == without) continue;
            expected = extended(expected, list[i].participant, list[i].digest, ROOT, list[i].weight, list[i].steps);
        }
    }

    function send(SignedUpdate[] memory list) internal {
        vm.prank(STRANGER);
        cairn.commitUpdatesFor{gas: 16_000_000}(modelId, number, list);
    }

    /// @dev All but one are made, and of that one it is said why it was not.
    function skips(SignedUpdate[] memory list, uint256 bad, bytes4 reason) internal {
        bytes32 expected = hashAfter(list, bad);
        expectEvent(address(cairn));
        emit ICairn.CommitmentSkipped(roundId(number), list[bad].participant, reason);
        send(list);
        same(runningHash(number), expected, "the others, in order");
        same(cairn.round(modelId, number).commitments, list.length - 1, "all but one");
    }

    function test_commitUpdatesFor_nobody_is_nothing() public {
        bytes32 before = runningHash(number);
        send(new SignedUpdate[](0));
        same(runningHash(number), before, "unchanged");
    }

    function test_commitUpdatesFor_makes_each_in_order() public {
        SignedUpdate[] memory list = listed();
        bytes32 expected = hashAfter(list, COUNT);
        for (uint256 i = 0; i < COUNT; ++i) {
            expectEvent(address(cairn));
            emit ICairn.UpdateCommitted(roundId(number), signers[i], list[i].digest, ROOT, WEIGHT, STEPS);
        }
        send(list);
        same(cairn.COMMIT_GAS(), 300_000, "gas of each");
        same(runningHash(number), expected, "running hash");
        same(cairn.round(modelId, number).commitments, COUNT, "commitments");
        same(cairn.member(modelId, STRANGER).lastRound, 0, "the sender has no part in it");
        same(cairn.member(modelId, address(cairn)).lastRound, 0, "nor has the contract");
    }

    function test_commitUpdatesFor_skips_one_that_cannot_be_made(uint8 which, uint8 place) public {
        SignedUpdate[] memory list = listed();
        uint256 bad = place % COUNT;
        which = uint8(within(which, 0, 6));
        bytes4 reason = ICairn.BadSignature.selector;
        if (which == 0) list[bad].digest = "another";
        if (which == 1) (list[bad].validUntil, reason) = (uint64(time()) - 1, ICairn.SignatureExpired.selector);
        if (which == 2) (list[bad].weight, reason) = (CAP + 1, ICairn.BadWeight.selector);
        if (which == 3) (list[bad].steps, reason) = (0, ICairn.BadSteps.selector);
        if (which == 4) (list[bad].digest, reason) = (0, ICairn.ZeroDigest.selector);
        if (which == 5) reason = ICairn.MissingRole.selector;
        if (which == 6) reason = ICairn.AlreadyCommitted.selector;
        if (which != 0) sign(100 + bad, number, list[bad]);
        if (which == 5) {
            vm.prank(OWNER);
            cairn.revokeRoles(modelId, signers[bad], P);
        }
        if (which == 6) list[bad] = list[(bad + COUNT - 1) % COUNT];
        // Twice in the list: the later of the two is skipped.
        if (which == 6 && bad == 0) bad = COUNT - 1;
        skips(list, bad, reason);
    }

    function test_commitUpdatesFor_again_skips_all_and_changes_nothing() public {
        SignedUpdate[] memory list = listed();
        send(list);
        bytes32 before = runningHash(number);
        for (uint256 i = 0; i < COUNT; ++i) {
            expectEvent(address(cairn));
            emit ICairn.CommitmentSkipped(roundId(number), signers[i], ICairn.AlreadyCommitted.selector);
        }
        send(list);
        same(runningHash(number), before, "unchanged");
    }

    function test_commitUpdatesFor_skips_all_in_another_phase_or_round() public {
        SignedUpdate[] memory list = listed();
        forward(COMMIT);
        expectEvent(address(cairn));
        emit ICairn.CommitmentSkipped(roundId(number), signers[0], ICairn.WrongPhase.selector);
        send(list);
        vm.prank(OWNER);
        cairn.cancelRound(modelId, number);
        number = open();
        expectEvent(address(cairn));
        emit ICairn.CommitmentSkipped(roundId(number), signers[0], ICairn.BadSignature.selector);
        send(list);
        same(cairn.round(modelId, number).commitments, 0, "none");
    }

    function test_commitUpdatesFor_undoes_what_a_hook_did_for_whom_another_refused() public {
        vm.startPrank(OWNER);
        cairn.cancelRound(modelId, number);
        Plan memory plan = somePlan();
        plan.hooks = new address[](2);
        PickyHook counting = new PickyHook(address(0));
        (plan.hooks[0], plan.hooks[1]) = (address(counting), address(new PickyHook(signers[4])));
        cairn.setPlan(modelId, plan, someRules());
        vm.stopPrank();
        number = open();
        skips(listed(), 4, PickyHook.NotThisOne.selector);
        same(counting.asked(), COUNT - 1, "not counted where it came to nothing");
        same(cairn.member(modelId, signers[4]).lastRound, 0, "may try again");
    }

    function test_commitUpdatesFor_bounds_what_one_may_burn() public {
        address[2] memory wallets = [address(new BurningWallet()), address(new FloodingWallet())];
        for (uint256 i = 0; i < 2; ++i) {
            SignedUpdate[] memory list = listed();
            list[3].participant = wallets[i];
            vm.prank(OWNER);
            cairn.grantRoles(modelId, wallets[i], P);
            bytes32 expected = hashAfter(list, 3);
            uint256 before = gasleft();
            send(list);
            // The others take about 25 000 each.
            check(before - gasleft() < 400_000 + COUNT * 50_000, "bounded");
            same(runningHash(number), expected, "the others are made");
            vm.prank(OWNER);
            cairn.cancelRound(modelId, number);
            number = open();
        }
    }

    function test_commitUpdatesFor_says_of_a_wallet_that_burns_its_gas_that_it_did_not_sign() public {
        SignedUpdate[] memory list = listed();
        list[3].participant = address(new BurningWallet());
        skips(list, 3, ICairn.BadSignature.selector);
    }

    function test_commitUpdatesFor_skips_nobody_for_want_of_gas(uint256 given) public {
        SignedUpdate[] memory list = listed();
        given = within(given, 200_000, 16_000_000 / 8);
        bytes32 before = runningHash(number);
        bytes32 expected = hashAfter(list, COUNT);
        vm.prank(STRANGER);
        (bool done,) = address(cairn).call{gas: given}(abi.encodeCall(cairn.commitUpdatesFor, (modelId, number, list)));
        same(runningHash(number), done ? expected : before, "all, or none");
    }

    function test_commitUpdatesFor_reverts_with_less_than_one_may_take() public {
        SignedUpdate[] memory list = listed();
        bytes memory call = abi.encodeCall(cairn.commitUpdatesFor, (modelId, number, list));
        (bool done, bytes memory answer) = address(cairn).call{gas: 250_000}(call);
        check(!done && bytes4(answer) == ICairn.TooLittleGas.selector, "for that reason");
    }
}
