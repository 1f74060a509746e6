// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @notice A contract account whose signature is its owner's (EIP-1271).
contract Wallet is IERC1271 {
    address public immutable owner;

    constructor(address owner_) {
        owner = owner_;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return ECDSA.recoverCalldata(hash, signature) == owner ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

/// @notice Answers EIP-1271 with the bytes it was made with.
contract AnsweringWallet {
    bytes private _answer;

    constructor(bytes memory answer) {
        _answer = answer;
    }

    fallback() external {
        bytes memory answer = _answer;
        assembly ("memory-safe") {
            return(add(answer, 32), mload(answer))
        }
    }
}

/// @notice Says yes only after having written, which a static call forbids.
contract WritingWallet {
    uint256 public asked;

    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        ++asked;
        return IERC1271.isValidSignature.selector;
    }
}

/// @notice Burns all it is given.
contract BurningWallet {
    fallback() external {
        while (true) {}
    }
}

/// @notice Reverts with as many bytes as it can pay for.
contract FloodingWallet {
    fallback() external {
        assembly ("memory-safe") {
            // Memory of n words costs 3 n + n^2 / 512 gas.
            revert(0, 200000)
        }
    }
}
