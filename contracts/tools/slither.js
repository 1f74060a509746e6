// Runs slither (in a virtual environment of its own: it wants an older web3) over the contracts that ship.
//   python3.11 -m venv .tools/slither && .tools/slither/bin/pip install slither-analyzer==0.11.6
//   npm run slither
// Exit 1 on any finding. The few that stand are switched off where they arise, each with its reason beside it:
//   grep -rn -B1 slither-disable contracts
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DEPLOYED, gather, ROOT, SETTINGS } from "./compiler.js";

const SLITHER = path.join(ROOT, ".tools/slither/bin/slither");
const INPUT = "cache/slither/standard_input.json";

if (!existsSync(SLITHER)) {
  console.error(`no slither at ${SLITHER}; the head of contracts/tools/slither.js says how to install it`);
  process.exit(2);
}
// Sources under the paths that they have here: slither opens them to quote lines. Slither reads syntax trees only, so
// the slow code generator is left out.
const renamed = (name) => (name.startsWith("@") ? `node_modules/${name}` : name);
const sources = gather([...["Factory", ...DEPLOYED].map((name) => `contracts/${name}.sol`), "contracts/hooks/AllowListHook.sol"]);
const input = {
  language: "Solidity",
  settings: {
    ...SETTINGS,
    viaIR: false,
    remappings: ["@openzeppelin/=node_modules/@openzeppelin/"],
    outputSelection: { "*": { "": ["ast"], "*": ["abi", "metadata", "evm.bytecode", "evm.deployedBytecode"] } },
  },
  sources: Object.fromEntries(Object.entries(sources).map(([name, source]) => [renamed(name), source])),
};
mkdirSync(path.join(ROOT, path.dirname(INPUT)), { recursive: true });
writeFileSync(path.join(ROOT, INPUT), JSON.stringify(input));
const flags = ["--compile-force-framework", "Solc-json", "--solc", "contracts/tools/solc.js", "--fail-pedantic"];
const env = { ...process.env, PATH: `${path.join(ROOT, "node_modules/.bin")}:${process.env.PATH}` };
const run = spawnSync(SLITHER, [INPUT, ...flags, ...process.argv.slice(2)], { cwd: ROOT, env, stdio: "inherit" });
process.exitCode = run.status ?? 1;
