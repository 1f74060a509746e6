// Hardhat: compiler settings, networks and Solidity tests.
import hardhatIgnition from "@nomicfoundation/hardhat-ignition";
import { defineConfig } from "hardhat/config";
import { compiler, separateTests, shipped, testSolidity } from "./contracts/tools/builds.js";
import { SETTINGS } from "./contracts/tools/compiler.js";

// Short runs compile tests, and the contracts that they deploy, without optimizing: in seconds. The others deploy the
// bytecode that ships (contracts/test/support/Deploy.sol), and compile by IR, as it was, what inlines a library. CI's run
// has the day for its seed, so that each day tries other values; a long run, of the soak, has another each time.
const mode = process.env.CAIRN_SOL_TESTS ?? "short";
const long = mode !== "short";
const seed = { short: "0x1", daily: "0x" + new Date().toISOString().slice(0, 10).replaceAll("-", "") }[mode];
const runs = { short: [64, 16], daily: [1_000, 100], long: [10_000, 1_000] }[mode];
const optimizer = long ? SETTINGS.optimizer : { enabled: false };
const LIBRARIES = ["contracts/test/unit/Grid.t.sol", "contracts/test/unit/Merkle.t.sol"];

export default defineConfig({
  plugins: [hardhatIgnition, separateTests],
  tasks: [testSolidity],
  solidity: {
    splitTestsCompilation: true,
    profiles: {
      default: { compilers: [shipped] },
      tests: {
        compilers: [compiler({ optimizer, viaIR: false })],
        overrides: Object.fromEntries(LIBRARIES.map((file) => [file, compiler({ optimizer, viaIR: long })])),
      },
    },
  },
  paths: { sources: "contracts", tests: { solidity: "contracts/test" }, artifacts: "artifacts", cache: "cache" },
  networks: {
    default: { type: "edr-simulated", chainType: "l1", hardfork: "prague" },
    localhost: { type: "http", chainType: "l1", url: `http://127.0.0.1:${process.env.CAIRN_NODE_PORT ?? 8545}` },
  },
  test: {
    solidity: {
      fsPermissions: { readFile: [...["Cairn", "Challenges", "Court", "Rules", "Labels", "Selections", "Scores", "Factory", "AllowListHook"].map((name) => `registry/chain/artifacts/${name}.json`), "tests/golden/rules/selections.json"] },
      fuzz: { runs: runs[0], ...(seed && { seed }) },
      invariant: { runs: runs[1], depth: 32, failOnRevert: true },
    },
  },
});
