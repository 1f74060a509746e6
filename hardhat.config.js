import { defineConfig } from "hardhat/config";
import { SETTINGS, SOLJSON, VERSION } from "./contracts/tools/compiler.js";

// Short runs compile tests, and the contracts that they deploy, without optimizing: in seconds. Long runs deploy the
// bytecode that ships (contracts/test/support/Deploy.sol), and compile by IR, as it was, what inlines a library.
const long = process.env.CAIRN_SOL_TESTS === "long";
const optimizer = long ? SETTINGS.optimizer : { enabled: false };
const compiler = (viaIR) => ({ version: VERSION, path: SOLJSON, settings: { ...SETTINGS, optimizer, viaIR } });
const LIBRARIES = ["contracts/test/unit/Grid.t.sol", "contracts/test/unit/Merkle.t.sol"];

export default defineConfig({
  solidity: {
    compilers: [compiler(false)],
    overrides: Object.fromEntries(LIBRARIES.map((file) => [file, compiler(long)])),
  },
  paths: { sources: "contracts", tests: { solidity: "contracts/test" }, artifacts: "artifacts", cache: "cache" },
  networks: { default: { type: "edr-simulated", chainType: "l1", hardfork: "prague" } },
  test: {
    solidity: {
      fsPermissions: { readFile: ["Cairn", "Challenges", "Court", "Rules", "Factory", "AllowListHook"].map((name) => `registry/chain/artifacts/${name}.json`) },
      fuzz: long ? { runs: 10_000 } : { runs: 64, seed: "0x1" },
      invariant: { runs: long ? 1_000 : 16, depth: 32, failOnRevert: true },
    },
  },
});
