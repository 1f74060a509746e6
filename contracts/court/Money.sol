// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelId, Phase, RoundId, Standing} from "../interfaces/ICairn.sol";
import {Bond, ICourt} from "../interfaces/ICourt.sol";
import {Verdicts} from "./Verdicts.sol";

/// @title Money: bonds, credits, and what is burnt
/// @dev Everything that comes in stands in exactly one of bonds, rewards, deposits of open demands, credits or `burnt`.
/// It goes out in `withdraw` alone, which ends with the payment.
abstract contract Money is Verdicts {
    /// @dev One word. What has not been collected yet, and whether anything has been set aside so far.
    struct Reward {
        uint248 amount;
        bool given;
    }

    /// @inheritdoc ICourt
    uint256 public burnt;
    mapping(ModelId => mapping(address aggregator => Bond)) private _bonds;
    mapping(address account => uint256) private _credits;
    mapping(RoundId => mapping(bytes32 tally => Reward)) internal _rewards;

    modifier onlyCairn() {
        if (msg.sender != address(CAIRN)) revert NotCairn(msg.sender);
        _;
    }

    /// @inheritdoc ICourt
    function depositBond(ModelId modelId) external payable {
        _bonds[modelId][msg.sender].amount += uint128(msg.value);
        emit BondDeposited(modelId, msg.sender, msg.value);
    }

    /// @inheritdoc ICourt
    function releaseBond(ModelId modelId, uint128 amount) external {
        Bond memory held = _bonds[modelId][msg.sender];
        if (amount > held.amount) revert BondTooSmall(modelId, msg.sender, held.amount, amount);
        if (_isLocked(modelId, held.lockedRound)) revert BondIsLocked(modelId, msg.sender, held.lockedRound);
        _bonds[modelId][msg.sender].amount = held.amount - amount;
        _credit(msg.sender, amount);
        emit BondReleased(modelId, msg.sender, amount);
    }

    /// @inheritdoc ICourt
    function withdraw(address to) external {
        uint256 amount = _credits[msg.sender];
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        _credits[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amount);
        if (to == address(0)) revert PaymentRefused(to); // nobody has it, and it would take the money
        // The payee may be a contract with a fallback of its own.
        // slither-disable-next-line low-level-calls
        (bool paid,) = to.call{value: amount}("");
        if (!paid) revert PaymentRefused(to);
    }

    /// @inheritdoc ICourt
    function lockBond(ModelId modelId, uint64 number, address aggregator, uint64 gweis) external onlyCairn {
        Bond memory held = _bonds[modelId][aggregator];
        uint256 expected = uint256(gweis) * 1 gwei;
        if (held.amount < expected) revert BondTooSmall(modelId, aggregator, held.amount, expected);
        if (held.lockedRound != number) _bonds[modelId][aggregator].lockedRound = number;
    }

    /// @inheritdoc ICourt
    function slashBond(ModelId modelId, RoundId roundId, bytes32 tally, address aggregator, uint64 gweis)
        external
        onlyCairn
    {
        uint128 amount = uint128(gweis) * 1 gwei;
        uint128 held = _bonds[modelId][aggregator].amount;
        uint128 taken = amount < held ? amount : held; // late answers may have burnt up to half of it
        _bonds[modelId][aggregator].amount = held - taken;
        // Half of one bond in all: with a share of every bond, one of several liars would win by convicting the lie.
        // Late answers leave the half that rewards.
        uint128 rewarded = _rewards[roundId][tally].given ? 0 : amount / 2;
        burnt += taken - rewarded;
        if (rewarded != 0) _rewards[roundId][tally] = Reward(rewarded, true);
        emit BondSlashed(modelId, aggregator, roundId, taken);
    }

    /// @inheritdoc ICourt
    function bond(ModelId modelId, address aggregator) external view returns (Bond memory) {
        return _bonds[modelId][aggregator];
    }

    /// @inheritdoc ICourt
    function credit(address account) external view returns (uint256) {
        return _credits[account];
    }

    /// @inheritdoc ICourt
    function reward(RoundId roundId, bytes32 tally) external view returns (uint256) {
        return _rewards[roundId][tally].amount;
    }

    /// @dev Burns so much of each of these bonds, and returns how much that is of all.
    function _burnBonds(ModelId modelId, RoundId roundId, address[] calldata aggregators, uint128 each)
        internal
        returns (uint256 sum)
    {
        for (uint256 i = 0; i < aggregators.length; ++i) {
            _bonds[modelId][aggregators[i]].amount -= each;
            emit BondSlashed(modelId, aggregators[i], roundId, each);
        }
        sum = aggregators.length * each;
        burnt += sum;
    }

    function _credit(address account, uint256 amount) internal {
        _credits[account] += amount;
    }

    /// @dev Until the round's result can no longer change, and for good where it attested a void one: `expel` takes it.
    function _isLocked(ModelId modelId, uint64 number) private view returns (bool) {
        if (number == 0) return false;
        Phase phase = CAIRN.phase(modelId, number);
        if (phase != Phase.Final && phase != Phase.Cancelled) return true;
        bytes32 tally = CAIRN.attestation(modelId, number, msg.sender);
        return CAIRN.standing(modelId, number, tally) != Standing.Sound;
    }
}
