// Runs every Solidity test under forge (Hardhat's coverage knows no branches) and exits 1 unless all lines, branches and
// functions of what ships are covered.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { forge, ROOT } from "./compiler.js";

const REPORT = path.join(ROOT, "cache/coverage.info");
const COUNTS = { lines: ["LF", "LH"], branches: ["BRF", "BRH"], functions: ["FNF", "FNH"] };

const flags = ["coverage", "--report", "lcov", "--report-file", REPORT, "--no-match-coverage", "contracts/test"];
const run = spawnSync(forge(), flags, { cwd: ROOT, encoding: "utf8" });
if (run.status !== 0) {
  console.error(run.stdout, run.stderr);
  process.exit(1);
}
let covered = true;
for (const record of readFileSync(REPORT, "utf8").split("end_of_record").filter((text) => text.includes("SF:"))) {
  const field = (name) => Number(record.match(new RegExp(`^${name}:(\\d+)`, "m"))?.[1] ?? 0);
  const parts = Object.entries(COUNTS).map(([name, [found, hit]]) => [name, field(hit), field(found)]);
  covered &&= parts.every(([, hit, found]) => hit === found);
  console.log(record.match(/SF:(.*)/)[1], parts.map(([name, hit, found]) => `${name} ${hit}/${found}`).join(", "));
}
process.exitCode = covered ? 0 : 1;
