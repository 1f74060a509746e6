// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ICairn, ModelId, Version} from "../interfaces/ICairn.sol";
import {State} from "./State.sol";

/// @title Versions that no round made, and versions that must not be used
/// @dev The head is always known and sound: it moves only to new versions and to sound replacements, and is deprecated
/// only by moving away from it. So rounds need not look.
abstract contract Versions is State {
    /// @inheritdoc ICairn
    function publishVersion(ModelId modelId, bytes32 parent, bytes32 digest, bytes32 tensorRoot, bytes32 restRoot)
        external
    {
        ModelState storage state = _owned(modelId);
        _requireEnded(modelId, state.rounds);
        if (digest == 0) revert ZeroDigest();
        if (_versions[modelId][parent].parent == 0) revert UnknownVersion(modelId, parent);
        if (_versions[modelId][digest].parent != 0) revert VersionExists(modelId, digest);

        _versions[modelId][digest] = _published(parent, tensorRoot, restRoot);
        state.head = digest;
        emit VersionPublished(modelId, digest, parent, tensorRoot, restRoot);
    }

    /// @inheritdoc ICairn
    function deprecateVersion(ModelId modelId, bytes32 digest, bytes32 reasonDigest, bytes32 replacement) external {
        ModelState storage state = _owned(modelId);
        VersionState storage old = _versions[modelId][digest];
        if (old.parent == 0) revert UnknownVersion(modelId, digest);
        if (old.deprecated) revert VersionIsDeprecated(modelId, digest);
        if (reasonDigest == 0) revert ZeroDigest();

        old.deprecated = true;
        bool sound = replacement == 0;
        if (state.head == digest) {
            _requireEnded(modelId, state.rounds);
            // The digest itself is deprecated by now, so it does not pass as its own replacement.
            VersionState storage next = _versions[modelId][replacement];
            sound = next.parent != 0 && !next.deprecated;
            state.head = replacement;
        }
        if (!sound) revert UnsoundReplacement(modelId, digest, replacement);
        emit VersionDeprecated(modelId, digest, reasonDigest, replacement);
    }

    /// @inheritdoc ICairn
    function version(ModelId modelId, bytes32 digest) external view returns (Version memory) {
        VersionState storage state = _versions[modelId][digest];
        bytes32 parent = state.parent;
        return Version({
            known: parent != 0,
            parent: parent == digest ? bytes32(0) : parent,
            roots: state.roots,
            outsideRound: state.outsideRound,
            deprecated: state.deprecated
        });
    }
}
