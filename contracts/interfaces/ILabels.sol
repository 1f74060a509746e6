// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId} from "./ICairn.sol";

/// @title Labels: names, tags and notes that a model's owner gives to its versions
/// @notice For readers alone. No other contract calls it, it calls nothing but two views of `CAIRN`, and it takes no
/// money: no round, result, bond or head hangs on it.
///
/// A version is one that Cairn knows, so a result that is not finalized, and a version of another model, have no labels.
/// Who owns a model is asked of Cairn at every call.
///
/// Names. An alias is 1 to 31 of a-z 0-9 - _ . and begins with a letter. It is no other way to name a version: not hex
/// digits alone (a digest), nor head, genesis, round-…, baf… (a CID), v1…; a date begins with a digit. So wherever readers
/// name a version, it is either an alias or something else. A tag is 1 to 31 of the same characters.
///
/// Sharp edges. An alias stays where it is when its version is deprecated, and when the model changes hands. Tags are kept
/// in events only: setting one again, or removing one that is not there, changes nothing and is told again. A note is
/// bytes that should be UTF-8, which is not checked here: readers escape it.
interface ILabels {
    // ---------------------------------------------------------------------------------------------------------- Events

    /// @notice An alias names a version, which replaces the one that it named before.
    event AliasSet(ModelId indexed modelId, bytes32 indexed digest, address indexed owner, string name);
    /// @notice An alias names no version any more.
    /// @param digest The version that it named.
    event AliasRemoved(ModelId indexed modelId, bytes32 indexed digest, address indexed owner, string name);
    /// @notice A version has a tag.
    event VersionTagged(ModelId indexed modelId, bytes32 indexed digest, address indexed owner, string tag);
    /// @notice A version has a tag no longer.
    event VersionUntagged(ModelId indexed modelId, bytes32 indexed digest, address indexed owner, string tag);
    /// @notice The model's owner says something of a version.
    /// @param note At most 280 bytes; UTF-8, unless its author meant harm.
    event NoteAdded(ModelId indexed modelId, bytes32 indexed digest, address indexed owner, bytes note);

    // ---------------------------------------------------------------------------------------------------------- Errors

    /// @notice No alias, or no tag, may be called so.
    error BadName(string given, string expected);
    /// @notice The model has no such alias.
    error UnknownAlias(ModelId modelId, string name);
    /// @notice A note of no bytes, or of too many.
    error BadNote(uint256 length, uint256 max);

    // ------------------------------------------------------------------------------------------------------- Functions

    /// @notice Has an alias name a sound version, whatever it named before. Owner only.
    function setAlias(ModelId modelId, string calldata name, bytes32 digest) external;

    /// @notice Removes an alias. Owner only.
    function removeAlias(ModelId modelId, string calldata name) external;

    /// @notice Tags a version. Owner only.
    function addTag(ModelId modelId, bytes32 digest, string calldata tag) external;

    /// @notice Takes a tag from a version. Owner only.
    function removeTag(ModelId modelId, bytes32 digest, string calldata tag) external;

    /// @notice Says something of a version, in an event. Owner only.
    function addNote(ModelId modelId, bytes32 digest, bytes calldata note) external;

    // ----------------------------------------------------------------------------------------------------------- Views

    /// @notice The version that an alias names; zero for no such alias.
    function aliasOf(ModelId modelId, string calldata name) external view returns (bytes32 digest);

    /// @notice The Cairn whose models these are.
    // slither-disable-next-line naming-convention
    function CAIRN() external view returns (ICairn);

    /// @notice Most bytes of a note.
    // slither-disable-next-line naming-convention
    function MAX_NOTE() external view returns (uint256);
}
