// One compiler and one set of settings for every tool: Hardhat, forge (through solc.js), the artifacts, slither.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
export const SOLJSON = path.join(ROOT, "node_modules/solc/soljson.js");
export const VERSION = "0.8.37";

// The compiler's own steps but for F, which copies a function for each literal that it is called with: a fifteenth of
// the code, for tens of gas.
const STEPS =
  "dhfoDgvulfnTUtnIf[xa[r]EscLMVcul[j]Trpeulxa[r]cLgvifMCTUca[r]LSsTOtfDnca[r]Iulc]jmul[jul]VcTOculjmul:fDnTOcmu";

// Prague: the newest that py-evm runs. No metadata hash: the bytecode then depends on code and settings only, not on
// where a tool thinks that a file lies.
export const SETTINGS = {
  evmVersion: "prague",
  metadata: { bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 100, details: { yul: true, yulDetails: { optimizerSteps: STEPS } } },
  viaIR: true,
};

/** The contracts of a deployment, in the order of `ContractIndex` in contracts/interfaces/IFactory.sol. */
export const DEPLOYED = ["Cairn", "Challenges", "Court", "Rules", "Labels", "Selections", "Scores"];

export const OUTPUT = [
  "abi",
  "evm.bytecode.object",
  "evm.deployedBytecode.object",
  "evm.deployedBytecode.immutableReferences",
  "storageLayout",
];

const solc = () => createRequire(import.meta.url)("solc");

export function compile(input) {
  const output = JSON.parse(solc().compile(JSON.stringify(input)));
  const errors = (output.errors ?? []).filter((e) => e.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((e) => e.formattedMessage).join("\n"));
  return output;
}

/** The full version with its commit, such as 0.8.37+commit.6b3cc2d0. */
export function longVersion() {
  return solc().version().replace(".Emscripten.clang", "");
}

/** Every source that the entries need, by the name it is imported under. */
export function gather(entries) {
  const sources = {};
  const visit = (name) => {
    if (name in sources) return;
    const file = name.startsWith("@") ? path.join(ROOT, "node_modules", name) : path.join(ROOT, name);
    const content = readFileSync(file, "utf8");
    sources[name] = { content };
    for (const [, target] of content.matchAll(/^import\s+(?:[^"';]*\sfrom\s+)?["']([^"']+)["'];/gm)) {
      visit(target.startsWith(".") ? path.posix.join(path.posix.dirname(name), target) : target);
    }
  };
  entries.forEach(visit);
  return sources;
}

/** The program itself: the package's own starter answers 0 whatever forge answered. */
export function forge() {
  const arch = process.arch === "x64" ? "amd64" : process.arch;
  return path.join(ROOT, `node_modules/@foundry-rs/forge-${process.platform}-${arch}/bin/forge`);
}
