#!/usr/bin/env node
// solc on the command line, for forge, slither and py-solc-x: npm's compiler behind the two flags they need.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const solc = createRequire(import.meta.url)("solc");
if (process.argv.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else {
  // No process.exit: it would cut a pipe at 64 KiB.
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
}
