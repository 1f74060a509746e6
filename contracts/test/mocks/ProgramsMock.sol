// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Programs} from "../../rules/Programs.sol";

/// @notice The library over whole arrays, so that others can hold it against their own arithmetic.
contract ProgramsMock {
    /// @notice Coordinates of one round under one program.
    struct Case {
        bytes program;
        int256[4] scalars;
        int256[] q;
        int256[][] states;
    }

    function requireValid(bytes calldata program) external pure {
        Programs.requireValid(program);
    }

    function valid(bytes[] calldata programs) external view returns (bool[] memory verdicts) {
        verdicts = new bool[](programs.length);
        for (uint256 i = 0; i < programs.length; ++i) {
            try this.requireValid(programs[i]) {
                verdicts[i] = true;
            } catch {}
        }
    }

    /// @return results For each case d and the new states of each coordinate, one after the other.
    function run(Case[] calldata cases) external pure returns (int256[][] memory results) {
        results = new int256[][](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            results[i] = _run(cases[i]);
        }
    }

    function _run(Case calldata c) private pure returns (int256[] memory results) {
        uint256 width = 1 + Programs.states(c.program);
        results = new int256[](width * c.q.length);
        for (uint256 k = 0; k < c.q.length; ++k) {
            (int256 d, int256[] memory next) = Programs.run(c.program, c.q[k], c.states[k], c.scalars);
            results[width * k] = d;
            for (uint256 i = 0; i < next.length; ++i) {
                results[width * k + 1 + i] = next[i];
            }
        }
    }

    /// @notice What one coordinate costs beyond its calldata.
    function gasOfRun(bytes calldata program, int256 q, int256[] memory states, int256[4] memory scalars)
        external
        view
        returns (uint256 used)
    {
        used = gasleft();
        Programs.run(program, q, states, scalars);
        used -= gasleft();
    }

    /// @notice What one look at a plan's program costs beyond its calldata.
    function gasOfValid(bytes calldata program) external view returns (uint256 used) {
        used = gasleft();
        Programs.requireValid(program);
        used -= gasleft();
    }

    function shapeOf(bytes calldata program)
        external
        pure
        returns (uint256 fractionBits, bytes memory stateSection, int256[3][] memory bounds)
    {
        fractionBits = Programs.fractionBits(program);
        stateSection = Programs.stateSection(program);
        bounds = new int256[3][](Programs.states(program));
        for (uint256 i = 0; i < bounds.length; ++i) {
            (bounds[i][0], bounds[i][1], bounds[i][2]) = Programs.bounds(program, i);
        }
    }
}
