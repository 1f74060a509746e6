// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Version} from "./interfaces/ICairn.sol";
import {IFactory, ContractIndex} from "./interfaces/IFactory.sol";
import {ILabels} from "./interfaces/ILabels.sol";

/// @title Labels
/// @notice Belongs to one Cairn, immutable. What it does is said in `interfaces/ILabels.sol`.
contract Labels is ILabels {
    uint256 private constant MAX_NAME = 31;
    string private constant CHARACTERS = "1 to 31 of a-z 0-9 - _ .";
    string private constant OWN_NAME =
        "a letter first and no other name of a version: not hex digits alone, head, genesis, round-..., baf..., v1...";

    /// @inheritdoc ILabels
    uint256 public constant MAX_NOTE = 280;
    /// @inheritdoc ILabels
    // slither-disable-next-line naming-convention
    ICairn public immutable CAIRN;

    mapping(ModelId modelId => mapping(string name => bytes32 digest)) private _aliases;

    /// @dev Made by a factory, which says who the partners are.
    constructor() {
        CAIRN = ICairn(IFactory(msg.sender).addressOf(uint256(ContractIndex.Cairn)));
    }

    /// @inheritdoc ILabels
    function setAlias(ModelId modelId, string calldata name, bytes32 digest) external {
        _requireOwner(modelId);
        _requireCharacters(name);
        if (_isTaken(bytes(name))) revert BadName(name, OWN_NAME);
        if (_known(modelId, digest).deprecated) revert ICairn.VersionIsDeprecated(modelId, digest);
        _aliases[modelId][name] = digest;
        emit AliasSet(modelId, digest, msg.sender, name);
    }

    /// @inheritdoc ILabels
    function removeAlias(ModelId modelId, string calldata name) external {
        _requireOwner(modelId);
        bytes32 digest = _aliases[modelId][name];
        if (digest == 0) revert UnknownAlias(modelId, name);
        delete _aliases[modelId][name];
        emit AliasRemoved(modelId, digest, msg.sender, name);
    }

    /// @inheritdoc ILabels
    function addTag(ModelId modelId, bytes32 digest, string calldata tag) external {
        _requireTag(modelId, digest, tag);
        emit VersionTagged(modelId, digest, msg.sender, tag);
    }

    /// @inheritdoc ILabels
    function removeTag(ModelId modelId, bytes32 digest, string calldata tag) external {
        _requireTag(modelId, digest, tag);
        emit VersionUntagged(modelId, digest, msg.sender, tag);
    }

    /// @inheritdoc ILabels
    function addNote(ModelId modelId, bytes32 digest, bytes calldata note) external {
        _requireOwner(modelId);
        _known(modelId, digest);
        if (note.length == 0 || note.length > MAX_NOTE) revert BadNote(note.length, MAX_NOTE);
        emit NoteAdded(modelId, digest, msg.sender, note);
    }

    /// @inheritdoc ILabels
    function aliasOf(ModelId modelId, string calldata name) external view returns (bytes32 digest) {
        return _aliases[modelId][name];
    }

    function _requireTag(ModelId modelId, bytes32 digest, string calldata tag) private view {
        _requireOwner(modelId);
        _known(modelId, digest);
        _requireCharacters(tag);
    }

    function _requireOwner(ModelId modelId) private view {
        address owner = CAIRN.model(modelId).owner;
        if (owner == address(0)) revert ICairn.UnknownModel(modelId);
        if (owner != msg.sender) revert ICairn.NotOwner(modelId, msg.sender);
    }

    function _known(ModelId modelId, bytes32 digest) private view returns (Version memory found) {
        found = CAIRN.version(modelId, digest);
        if (!found.known) revert ICairn.UnknownVersion(modelId, digest);
    }

    function _requireCharacters(string calldata name) private pure {
        bytes calldata text = bytes(name);
        bool fits = text.length != 0 && text.length <= MAX_NAME;
        for (uint256 i = 0; fits && i < text.length; ++i) {
            bytes1 c = text[i];
            fits = _isLetter(c) || _isDigit(c) || c == "-" || c == "_" || c == ".";
        }
        if (!fits) revert BadName(name, CHARACTERS);
    }

    /// @dev Of a name of at least one character: whether it may also name a version in another way.
    function _isTaken(bytes calldata name) private pure returns (bool) {
        if (!_isLetter(name[0]) || _isHex(name)) return true;
        if (name[0] == "v" && name.length > 1 && _isDigit(name[1])) return true;
        if (bytes3(name) == "baf" || bytes6(name) == "round-") return true;
        // Shorter than 32 bytes, so padded with zeros as a literal is.
        return bytes32(name) == "head" || bytes32(name) == "genesis";
    }

    function _isHex(bytes calldata name) private pure returns (bool) {
        for (uint256 i = 0; i < name.length; ++i) {
            if (!_isDigit(name[i]) && (name[i] < "a" || name[i] > "f")) return false;
        }
        return true;
    }

    function _isLetter(bytes1 c) private pure returns (bool) {
        return c >= "a" && c <= "z";
    }

    function _isDigit(bytes1 c) private pure returns (bool) {
        return c >= "0" && c <= "9";
    }
}
