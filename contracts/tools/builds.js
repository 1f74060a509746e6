// Hardhat builds contracts as they ship and Solidity tests by a profile of their own.
import path from "node:path";
import { overrideTask } from "hardhat/config";
import { ROOT, SETTINGS, SOLJSON, VERSION } from "./compiler.js";

const TESTS = path.join(ROOT, "contracts/test") + path.sep;
const CODE = ["object", "opcodes", "sourceMap", "linkReferences"];
const OUTPUTS = [
  ...["abi", "evm.methodIdentifiers", "metadata", "storageLayout", "evm.deployedBytecode.immutableReferences"],
  ...["bytecode", "deployedBytecode"].flatMap((code) => CODE.map((part) => `evm.${code}.${part}`)),
];

export function compiler(settings) {
  return { version: VERSION, path: SOLJSON, settings: { ...SETTINGS, ...settings } };
}

/** The settings that ship, and what Hardhat and the artifacts want to know. */
export const shipped = compiler({ outputSelection: { "*": { "": ["ast"], "*": OUTPUTS } } });

/** One profile for contracts, whichever is asked for: a deployment builds what a build builds, and finds it built. */
function build(context, roots, options, next) {
  if (options?.scope === "tests") return next(context, roots, { ...options, buildProfile: "tests" });
  // Mocks, and what else lies beside the tests, are compiled with the tests that import them.
  const contracts = roots.filter((root) => !root.startsWith(TESTS));
  return next(context, contracts, { ...options, buildProfile: "default" });
}

/** What only tests deploy may be of any size: under test the chain has no limit. */
async function getCompilationJobErrors(context, job, output, next) {
  const errors = await next(context, job, output);
  const { optimizer, viaIR } = job.solcConfig.settings;
  if (viaIR && optimizer.enabled) return errors;
  return errors.filter(({ message }) => !/^Contract (init)?code size/.test(message));
}

// The tests bring what they deploy, or read registry/chain/artifacts: no build of the contracts need come first.
export const testSolidity = overrideTask(["test", "solidity"])
  .setInlineAction((args, _hre, runSuper) => runSuper({ ...args, noCompile: true }))
  .build();

export const separateTests = {
  id: "cairn-separate-tests",
  hookHandlers: { solidity: async () => ({ default: async () => ({ build, getCompilationJobErrors }) }) },
};
