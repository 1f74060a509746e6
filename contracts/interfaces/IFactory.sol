// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Index of a contract in its deployment.
enum ContractIndex {
    Cairn,
    Challenges,
    Court,
    Rules,
    Labels,
    Selections,
    Scores
}

/// @title Factory: makes the contracts of one deployment, and tells each where the others are
/// @notice Given the hashes of their creation code (init code), it puts each at a CREATE2 address that follows from all
/// of them. So addresses are known before any is made, nobody can put another contract in a place, and whoever has the
/// codes goes on where somebody else stopped. Creation codes hold no addresses: a constructor asks its caller, which is
/// the factory.
///
/// Cairn comes last: where it is, its partners are.
interface IFactory {
    /// @notice A contract was made at its place.
    event ContractDeployed(uint256 indexed place, address deployed);

    /// @notice Nothing has that place.
    error UnknownPlace(uint256 place, uint256 places);
    /// @notice It is not the code of that place.
    error OtherCode(uint256 place, bytes32 codeHash, bytes32 expected);
    /// @notice The contract of that place was made before.
    error AlreadyDeployed(uint256 place);
    /// @notice Cairn comes last.
    error NotDeployed(uint256 place);

    /// @notice Makes a contract. Anyone, each once.
    /// @param code Its creation code, without arguments.
    function deploy(uint256 place, bytes calldata code) external returns (address deployed);

    /// @notice Where the contract of a place is, or will be.
    /// @dev CREATE2 (EIP-1014) from here, with keccak256(abi.encodePacked(codeHashes())) for salt: so an address holds
    /// its neighbours' codes too.
    function addressOf(uint256 place) external view returns (address);

    /// @notice keccak256 of each creation code, by place.
    function codeHashes() external view returns (bytes32[] memory);
}
