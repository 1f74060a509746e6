// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice The cheatcodes these tests use; Hardhat and forge answer them alike.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function envOr(string calldata name, string calldata otherwise) external view returns (string memory);
    function readFile(string calldata path) external view returns (string memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function warp(uint256 timestamp) external;
    function fee(uint256 baseFee) external;
    function deal(address account, uint256 balance) external;
    function getBlockTimestamp() external view returns (uint256);
    function chainId(uint256 id) external;
    function etch(address target, bytes calldata code) external;
    function assume(bool condition) external pure;
    function expectRevert() external;
    function expectRevert(bytes calldata data) external;
    function expectEmit(bool topic1, bool topic2, bool topic3, bool data, address emitter) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function assertEq(uint256 left, uint256 right, string calldata claim) external pure;
    function assertEq(bytes32 left, bytes32 right, string calldata claim) external pure;
    function assertEq(address left, address right, string calldata claim) external pure;
    function assertTrue(bool condition, string calldata claim) external pure;
}

/// @notice What a test needs and no more, so that no library of it has to be fetched from outside the package index.
abstract contract Test {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function check(bool condition, string memory claim) internal pure {
        vm.assertTrue(condition, claim);
    }

    function same(uint256 left, uint256 right, string memory claim) internal pure {
        vm.assertEq(left, right, claim);
    }

    function same(bytes32 left, bytes32 right, string memory claim) internal pure {
        vm.assertEq(left, right, claim);
    }

    function same(address left, address right, string memory claim) internal pure {
        vm.assertEq(left, right, claim);
    }

    /// @dev The next call must emit what is emitted next here: all topics, all data, from this emitter.
    function expectEvent(address emitter) internal {
        vm.expectEmit(true, true, true, true, emitter);
    }

    /// @dev Asked of the cheatcode each time: compiled by IR, `block.timestamp` is read once and kept over a warp.
    function time() internal view returns (uint256) {
        return vm.getBlockTimestamp();
    }

    function forward(uint256 duration) internal {
        vm.warp(time() + duration);
    }

    /// @dev Folds any number into low..high, both inside.
    function within(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + x % (high - low + 1);
    }
}
