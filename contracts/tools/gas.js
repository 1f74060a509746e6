// Whole-transaction gas of what Cairn does, from receipts on Hardhat's in-process chain (prague).
//   node contracts/tools/gas.js            print it as JSON, with EAS and a bare event beside it
//   node contracts/tools/gas.js --write    write contracts/gas.json
//   node contracts/tools/gas.js --check    exit 1 on any change against contracts/gas.json, or above a cap
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DEPLOYED, ROOT } from "./compiler.js";
import { OPENED, SIZES } from "./disputes.js";
import { measure } from "./scenarios.js";
import { SELECTING } from "./selections.js";

const SNAPSHOT = path.join(ROOT, "contracts/gas.json");
const CAPS = {
  ...Object.fromEntries(["Factory", ...DEPLOYED, "AllowListHook"].map((name) => [`deploy ${name}`, 5_000_000])),
  "commit, 1 earlier, 3 members": 40_000,
  "commit, 1 earlier, 3000 members": 40_000,
  "commit, 1 earlier, 10001 members": 40_000,
  "commit, 100 earlier, 10001 members": 40_000,
  "commit, 10000 earlier, 10001 members": 40_000,
  "commit for an EOA": 55_000,
  "commit for an EIP-1271 wallet": 55_000,
  "commit one of a list of 10": 25_000,
  "commit one of a list of 100": 25_000,
  "open round, first": 140_000,
  "open round, next": 140_000,
  "attest, first": 105_000,
  "attest, other": 85_000,
  "attest, quorum": 115_000,
  "attest, quorum of one": 115_000,
  "attest with a state, quorum of one": 115_000,
  "attest, moved": 85_000,
  "finalize round": 95_000,
  "finalize round, with a state": 115_000,
};
for (const size of Object.keys(SIZES)) {
  for (const [count, share] of OPENED) {
    CAPS[`add a contribution of ${count}, ${size} values, ${share} a transaction`] = 92_000;
  }
  CAPS[`add a contribution of 100 to a median, ${size} values, 50 a transaction`] = 90_000;
  CAPS[`add a contribution of 100 in int8, ${size} values, 50 a transaction`] = 55_000;
  CAPS[`show chunk, ${size} values`] = 110_000;
  CAPS[`show chunk of a state, ${size} values`] = 112_000;
  CAPS[`show inner products of 32, ${size} values`] = 110_000;
  CAPS[`convict product, ${size} values`] = 4_000_000;
  CAPS[`convict version under FedAdam, ${size} values`] = 460_000;
  CAPS[`convict state under FedAdam, ${size} values`] = 460_000;
}
for (const rule of Object.keys(SELECTING)) CAPS[`convict a selection of 32 by ${rule}`] = 12_000_000;
/** Groups whose members must not differ by a single unit: cost may not grow with what others did. */
const FLAT = [Object.keys(CAPS).filter((name) => name.startsWith("commit, "))];

function complaints(gas) {
  const over = Object.entries(CAPS)
    .filter(([name, cap]) => !(gas[name] <= cap))
    .map(([name, cap]) => `above the cap: ${name}: ${gas[name]} > ${cap}`);
  const uneven = FLAT.filter((names) => new Set(names.map((name) => gas[name])).size !== 1).map(
    (names) => `not flat: ${names.map((name) => `${name}: ${gas[name]}`).join("; ")}`,
  );
  return [...over, ...uneven];
}

function changes(gas) {
  const before = JSON.parse(readFileSync(SNAPSHOT, "utf8"));
  return [...new Set([...Object.keys(before), ...Object.keys(gas)])]
    .filter((name) => before[name] !== gas[name])
    .map((name) => `changed: ${name}: ${before[name]} in contracts/gas.json, ${gas[name]} now`);
}

const { cairn, peers } = await measure();
const found = complaints(cairn);
if (process.argv.includes("--check")) found.push(...changes(cairn));
if (process.argv.includes("--write")) writeFileSync(SNAPSHOT, `${JSON.stringify(cairn, null, 2)}\n`);
if (!process.argv.includes("--check")) console.log(JSON.stringify({ cairn, peers, caps: CAPS }, null, 2));
for (const line of found) console.error(line);
if (found.length > 0) process.exitCode = 1;
else if (process.argv.includes("--check")) console.log(`as recorded: ${Object.keys(cairn).length} figures`);
