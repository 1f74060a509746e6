import { defineConfig } from "hardhat/config";
import { SETTINGS, SOLJSON, VERSION } from "./contracts/tools/compiler.js";

// Long: the bytecode that ships (IR, minutes to compile with the tests) and as many runs as CI asks for. Otherwise the
// same sources by the older code generator, in seconds, and few runs.
const long = process.env.CAIRN_SOL_TESTS === "long";

export default defineConfig({
  solidity: { version: VERSION, path: SOLJSON, settings: { ...SETTINGS, viaIR: long } },
  paths: { sources: "contracts", tests: { solidity: "contracts/test" }, artifacts: "artifacts", cache: "cache" },
  networks: { default: { type: "edr-simulated", chainType: "l1", hardfork: "prague" } },
  test: {
    solidity: {
      fuzz: long ? { runs: 10_000 } : { runs: 64, seed: "0x1" },
      invariant: { runs: long ? 1_000 : 16, depth: 32, failOnRevert: true },
    },
  },
});
