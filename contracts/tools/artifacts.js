// Writes what the Python side loads: ABI and bytecode of each contract, and the standard JSON input that rebuilds them.
//   node contracts/tools/artifacts.js           write registry/chain/artifacts/
//   node contracts/tools/artifacts.js --check   compare with what `hardhat build` makes, exit 1 if they differ
// `npm run artifacts` also generates their mirror in Python, `registry/dev/mirror.py`.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { compile, DEPLOYED, gather, longVersion, OUTPUT, ROOT, SETTINGS } from "./compiler.js";

const CONTRACTS = {
  Factory: "contracts/Factory.sol",
  ...Object.fromEntries(DEPLOYED.map((name) => [name, `contracts/${name}.sol`])),
  AllowListHook: "contracts/hooks/AllowListHook.sol",
};
const FOLDER = "registry/chain/artifacts";

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

/** Where each variable stands, without the compiler's numbers for sources, which move with every edit. */
function layout({ storage, types }) {
  const plain = (name) => name.replace(/\)\d+/g, ")");
  const place = ({ label, slot, offset, type }) => ({ label, slot: Number(slot), offset, type: plain(type) });
  const described = Object.entries(types ?? {}).map(([name, { numberOfBytes, members, key, value }]) => [
    plain(name),
    {
      bytes: Number(numberOfBytes),
      ...(members && { members: members.map(place) }),
      ...(key && { key: plain(key), value: plain(value) }),
    },
  ]);
  return { variables: storage.map(place), types: Object.fromEntries(described) };
}

function standardInput() {
  return {
    language: "Solidity",
    settings: { ...SETTINGS, outputSelection: { "*": { "*": OUTPUT } } },
    sources: gather(Object.values(CONTRACTS)),
  };
}

/** What Hardhat builds, or has built: the compiler's output, under the names that the standard input has. */
async function builtByHardhat() {
  const { default: hre } = await import("hardhat");
  await hre.tasks.getTask("build").run({ noTests: true, quiet: true });
  const contracts = {};
  for (const [contractName, sourceName] of Object.entries(CONTRACTS)) {
    const id = await hre.artifacts.getBuildInfoId(`${sourceName}:${contractName}`);
    const { output } = JSON.parse(readFileSync(await hre.artifacts.getBuildInfoOutputPath(id), "utf8"));
    contracts[sourceName] = output.contracts[`project/${sourceName}`];
  }
  return { contracts };
}

/** Without the compiler's numbers for immutables, which move with what else is compiled. */
function unnumbered(text) {
  const { immutableReferences, ...rest } = JSON.parse(text ?? "{}");
  const places = Object.values(immutableReferences ?? {}).map((at) => JSON.stringify(at));
  return JSON.stringify({ ...rest, places: places.sort() });
}

function files(input, output) {
  const made = { "standard_input.json": input };
  for (const [contractName, sourceName] of Object.entries(CONTRACTS)) {
    const { abi, evm, storageLayout } = output.contracts[sourceName][contractName];
    made[`${contractName}.json`] = {
      contractName,
      sourceName,
      compiler: { version: longVersion(), settings: SETTINGS },
      abi,
      bytecode: `0x${evm.bytecode.object}`,
      deployedBytecode: `0x${evm.deployedBytecode.object}`,
      immutableReferences: evm.deployedBytecode.immutableReferences,
      storage: layout(storageLayout),
    };
  }
  return Object.fromEntries(
    Object.entries(made).map(([name, value]) => [`${FOLDER}/${name}`, `${JSON.stringify(sorted(value), null, 1)}\n`]),
  );
}

function read(file) {
  try {
    return readFileSync(path.join(ROOT, file), "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

const input = standardInput();
if (process.argv.includes("--check")) {
  // That the standard input gives the same bytecode is what verifying a deployment checks (tests/chain/test_deploy.py).
  const expected = Object.entries(files(input, await builtByHardhat()));
  const stale = expected.filter(([file, text]) => unnumbered(read(file)) !== unnumbered(text)).map(([file]) => file);
  for (const file of stale) console.error(`stale: ${file} is not what contracts/ compiles to; run: npm run artifacts`);
  if (stale.length === 0) console.log(`fresh: ${expected.length} files in ${FOLDER}`);
  process.exitCode = stale.length === 0 ? 0 : 1;
} else {
  mkdirSync(path.join(ROOT, FOLDER), { recursive: true });
  for (const [file, text] of Object.entries(files(input, compile(input)))) {
    writeFileSync(path.join(ROOT, file), text);
    const { contractName, deployedBytecode } = JSON.parse(text);
    if (contractName) console.log(`${file}: ${deployedBytecode.length / 2 - 1} bytes of code`);
  }
}
