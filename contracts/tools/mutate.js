// Takes every check of the contracts out in turn, moves every boundary by one, leaves every write away, and runs the
// Solidity tests on each such mutant, in a copy of the tree. Exit 1 if a mutant survives.
//   node contracts/tools/mutate.js            all of them (about ten seconds each)
//   node contracts/tools/mutate.js --list     name them
//   node contracts/tools/mutate.js 3/10       the third tenth
//   node contracts/tools/mutate.js 1/1 Voids  those of files whose path holds this
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { forge, ROOT } from "./compiler.js";

const FOLDERS = ["contracts/modules", "contracts/challenges", "contracts/court", "contracts/rules"];
const FILES = [...FOLDERS.flatMap((folder) => readdirSync(path.join(ROOT, folder)).map((name) => `${folder}/${name}`)),
  "contracts/Factory.sol", "contracts/Labels.sol", "contracts/Scores.sol", "contracts/Rules.sol", "contracts/hooks/AllowListHook.sol"];

// What is found on one line, and what is put in its place.
const RULES = [
  ["check out", /\bif \((?=.*(\) revert |\) \{$))/, "if (false && ("],
  ["call out", /^ +_(require\w+|barEarlyEnd|owned)\(.*\);$/, ""],
  ["write out", /^ +[\w.[\]]+ (=|\+=|-=|\|=|&=) [^;]+;$/, ""],
  ["boundary", / < /, " <= "],
  ["boundary", / > /, " >= "],
  ["boundary", / <= /, " < "],
  ["boundary", / >= /, " > "],
  ["other way", / == /, " != "],
  ["other way", / != /, " == "],
  ["either", / \|\| /, " && "],
  ["both", / && /, " || "],
  ["event out", /^ +(if \(agreed\) )?emit [^;]+;$/, ""],
];
// Mutants that no test can tell from the original: a file, what the changed line holds, and the reason.
const EQUIVALENT = [
  ["Claims.sol", "order >= found.order", "seals and convictions are numbered in one order, so no two are equal"],
  ["Claims.sol", "order <= found.leaderOrder", "only the same seal has the same number, and it has one author"],
  ["Voids.sol", "from <= terms.publishDeadline", "where they are equal it is all one"],
];

function replaced(line, [name, pattern, text]) {
  const match = line.match(pattern);
  if (match === null) return null;
  if (text === "") return line.replace(/\S.*$/, "");
  let changed = line.slice(0, match.index) + text + line.slice(match.index + match[0].length);
  if (name === "check out") {
    // Close the second bracket where the condition ends.
    const end = Math.max(changed.lastIndexOf(") revert "), changed.endsWith(") {") ? changed.length - 3 : -1);
    changed = `${changed.slice(0, end)})${changed.slice(end)}`;
  }
  return changed;
}

function mutants() {
  const found = [];
  for (const file of FILES) {
    readFileSync(path.join(ROOT, file), "utf8").split("\n").forEach((line, index, lines) => {
      if (/^\s*(\/\/|\*|for )/.test(line) || /^(import|pragma)/.test(line)) return;
      for (const rule of RULES) {
        const changed = replaced(line, rule);
        if (changed === null || EQUIVALENT.some(([where, what]) => file.endsWith(where) && changed.includes(what))) continue;
        const text = [...lines.slice(0, index), changed, ...lines.slice(index + 1)].join("\n");
        found.push({ name: `${file}:${index + 1} ${rule[0]}: ${line.trim()}`, file, text });
      }
    });
  }
  return found;
}

function prepare() {
  const copy = mkdtempSync(path.join(tmpdir(), "cairn-mutants-"));
  for (const name of ["contracts", "foundry.toml"]) {
    cpSync(path.join(ROOT, name), path.join(copy, name), { recursive: true });
  }
  symlinkSync(path.join(ROOT, "node_modules"), path.join(copy, "node_modules"));
  return copy;
}

/**
 * Compiled without the optimizer: in seconds. Anything but passed, failed or not compiled is no verdict: a run ended from
 * outside is made again, the rest is an error.
 */
function verdict(copy, attempts = 5) {
  const runs = { FOUNDRY_FUZZ_RUNS: "16", FOUNDRY_INVARIANT_RUNS: "8" };
  const env = { ...process.env, FOUNDRY_OPTIMIZER: "false", FOUNDRY_VIA_IR: "false", ...runs };
  const options = { cwd: copy, env, encoding: "utf8", maxBuffer: 2 ** 28 };
  const { status, signal, stdout, stderr } = spawnSync(forge(), ["test", "--fail-fast"], options);
  if (status === 0) return "SURVIVED";
  if (/^\[FAIL/m.test(stdout)) return "killed";
  if (/Compiler run failed/.test(stdout + stderr)) return "no program";
  if (signal !== null && attempts > 1) return verdict(copy, attempts - 1);
  throw new Error(`forge ended with ${status ?? signal}:\n${stdout}\n${stderr}`);
}

function main(argument, place = "") {
  const all = mutants().filter(({ file }) => file.includes(place));
  if (argument === "--list") return all.forEach(({ name }) => console.log(name));
  const [part, parts] = (argument ?? "1/1").split("/").map(Number);
  const chosen = all.filter((_, index) => index % parts === part - 1);
  const copy = prepare();
  try {
    if (verdict(copy) !== "SURVIVED") throw new Error("the tests fail on the contracts as they are");
    const counts = {};
    for (const { name, file, text } of chosen) {
      writeFileSync(path.join(copy, file), text);
      const outcome = verdict(copy);
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      console.log(`${outcome}: ${name}`);
      cpSync(path.join(ROOT, file), path.join(copy, file));
    }
    console.log(JSON.stringify(counts));
    if (counts.SURVIVED) process.exitCode = 1;
  } finally {
    rmSync(copy, { recursive: true });
  }
}

main(process.argv[2], process.argv[3]);
