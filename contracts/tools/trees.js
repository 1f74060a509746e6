// Trees for the gas scenarios: of any size from one leaf and random siblings, since only a path is ever shown.
import { createHash } from "node:crypto";
import * as ethers from "ethers";
import { coder, word } from "./chain.js";

const CHUNK = 256;
/** How many segments the rules of a model have: a proof of eight hashes, as for some hundred tensors. */
const SEGMENTS = 256;
export const WEIGHT = 1200;
export const STEPS = 190;

// 1 - 2^-24 and 1 - 3 * 2^-24, and twice the first: grid values none of whose bytes is zero.
export const VALUE = "ffff7f3f";
export const OTHER = "fdff7f3f";
export const TWICE = "ffffff3f";
// FedAdam's two moments as int64; only the two bytes that the second never has are zero.
export const MOMENTS = "fdfefefeffffffff" + "fdfffffffdff0000";
export const OTHER_MOMENTS = "fffefefeffffffff" + "fdfffffffdff0000";

// The bytes of the server programs, with 24 grid bits; printed by
//   python -c 'from registry.rules import program, server_programs as s
//   print(program.encode(s.compile_rule("fedavg", {"rate": 1.0}, 24)).hex())'
// and of FedAdam ("fedadam") with rate 0.01, beta1 0.9, beta2 0.99, tau 0.001.
export const FEDAVG = "0x0000000000";
export const FEDADAM = "0x" +
  "02ffffffff000000000000000100000000000000000000000000000000000000000000ffffffffffff0000000010c6f7a102" +
  "08000000000000399a000000000006660000000000000040000000000000003f5c00000000000000a40000000000028f5c00" +
  "00000000001000000000000010624e0e030103030004010f100a11050300000302060313070114150a16050312080317090b" +
  "1900011a0a0a181b1c1217";

export const sha256 = (...parts) => `0x${createHash("sha256").update(ethers.getBytes(ethers.concat(parts))).digest("hex")}`;
const node = (left, right) => sha256("0x01", left, right);
export const rootOf = (counted) => sha256("0x02", ethers.toBeHex(counted.count, 8), counted.inner);

function pathFrom(name, leaves, leaf) {
  const depth = leaves === 1 ? 0 : (leaves - 1).toString(2).length;
  const proof = Array.from({ length: depth }, (_, i) => word(`${name} sibling ${i}`));
  return { inner: proof.reduce(node, sha256("0x00", leaf)), proof };
}

/** The opening of the first chunk of a blob, whose path is as long as any, and the blob's root. */
export function blob(name, values, value = VALUE) {
  const leaf = `0x${value.repeat(CHUNK)}`;
  const { inner, proof } = pathFrom(name, Math.ceil(values / CHUNK), leaf);
  const counted = { count: values, inner };
  return { opening: { counted, leaf, proof }, root: rootOf(counted) };
}

/** The same of a state: two int64 for each of so many values. */
export function stateBlob(name, values, moments = MOMENTS) {
  const leaf = `0x${moments.repeat(CHUNK / 4)}`;
  const { inner, proof } = pathFrom(name, Math.ceil(values / (CHUNK / 4)), leaf);
  const counted = { count: 2 * values, inner };
  return { opening: { counted, leaf, proof }, root: rootOf(counted) };
}

/** Layouts of packed rows by name, of which no byte of a mantissa is zero: bits, kept, the row, its first integer. */
export const FORMS = {
  int8: { bits: 8, kept: 0, row: `0x11${"7f".repeat(256)}`, q: 127 * 2 ** 17 },
  int4: { bits: 4, kept: 0, row: `0x15${"77".repeat(128)}`, q: 7 * 2 ** 21 },
  "top-8": { bits: 16, kept: 8, row: `0x090001020304050607${"ff7f".repeat(8)}`, q: 32_767 * 2 ** 9 },
};

/** The same of an update of packed rows. */
export function packedBlob(name, values, { row }) {
  const rows = Math.ceil(values / CHUNK);
  const { inner, proof } = pathFrom(name, rows, row);
  const counted = { count: rows * ethers.dataLength(row), inner };
  return { opening: { counted, leaf: row, proof }, root: rootOf(counted) };
}

/** Rule bytes (contracts/interfaces/IRules.sol) for so many values, and the opening of the segment that holds them all. */
export function ruleBook(program = FEDAVG, values = 10_000, median = false, select = null, form = null) {
  const parts = { first: 0, length: values, exponent: 0, kind: 0 };
  const leaf = ethers.solidityPacked(["uint64", "uint64", "int16", "uint8"], Object.values(parts));
  const { inner, proof } = pathFrom("segment", SEGMENTS, leaf);
  const counted = { count: SEGMENTS, inner };
  const combine = select ? [select.rule, select.shape, 1, true] : median ? [2, 2, 1, true] : [1, 1, form ? 2 : 1, false];
  const packing = form ? ethers.solidityPacked(["uint8", "int64", "int64"], [2, form.bits, form.kept]) : "0x00";
  const parameters = select ? numbers(select.parameters) : median ? numbers([2 ** 15]) : packing;
  const rules = ethers.solidityPacked(
    ["uint8", "uint16", "uint8", "uint16", "bool", "uint8", "uint64", "bytes32", "bytes32", "bytes", "bytes"],
    [1, ...combine, 24, values, word("header"), rootOf(counted), parameters, program],
  );
  return { rules, rulesHash: ethers.keccak256(rules), segment: { counted, index: 0, ...parts, proof } };
}

const numbers = (all) =>
  ethers.concat([ethers.toBeHex(all.length, 1), ...all.map((number) => ethers.toBeHex(number, 8))]);

/** The second row of a blob, 16 chunks, whose path is as long as any, and the blob's root. */
export function secondRow(name, values) {
  const chunk = `0x${VALUE.repeat(CHUNK)}`;
  const subtree = tree(Array.from({ length: 16 }, () => sha256("0x00", chunk))).root;
  const { inner, proof } = pathAbove(name, Math.ceil(values / (16 * CHUNK)), node(word(`${name} first row`), subtree));
  const counted = { count: values, inner };
  const path = [word(`${name} first row`), ...proof];
  return { row: { counted, values: `0x${VALUE.repeat(16 * CHUNK)}`, proof: path }, root: rootOf(counted) };
}

/** A node over the first two leaves, and random siblings up to the root of so many leaves. */
export function pathAbove(name, leaves, over, covered = 2) {
  const depth = (leaves - 1).toString(2).length - Math.log2(covered);
  const proof = Array.from({ length: depth }, (_, i) => word(`${name} sibling ${i}`));
  return { inner: proof.reduce(node, over), proof };
}

/** The roots of a version whose server keeps no state. */
export const stateless = (tensor) => {
  return { tensor, rest: word("rest"), state: ethers.ZeroHash, stateLayout: ethers.ZeroHash, step: 0 };
};

/** What of a contribution was committed, and the leaf that it is. */
export const committed = ({ participant, digest, tensorRoot, weight, steps }) => coder.encode(
  ["address", "bytes32", "bytes32", "uint32", "uint32"], [participant, digest, tensorRoot, weight, steps]);
export const encoded = (c) => ethers.concat([committed(c), coder.encode(["uint32"], [c.factor])]);

const NO_MIDDLE = { least: 0, greatest: 0, below: 0, atLeast: 0, atGreatest: 0, above: 0 };
/** Of rules that do not order values. */
export const NO_ORDER = { middle: NO_MIDDLE, window: { least: 0, within: 0, atLeast: 0, atGreatest: 0 } };

/** RFC 9162: the root over these hashes, and the path of one of them. */
export function tree(hashes, index = 0) {
  if (hashes.length === 1) return { root: hashes[0], path: [] };
  const half = 2 ** (Math.ceil(Math.log2(hashes.length)) - 1);
  const inLeft = index < half;
  const left = tree(hashes.slice(0, half), inLeft ? index : 0);
  const right = tree(hashes.slice(half), inLeft ? 0 : index - half);
  const path = inLeft ? [...left.path, right.root] : [...right.path, left.root];
  return { root: node(left.root, right.root), path };
}

/** The contract's progress after the first `next` contributions; `q` is the grid integer each has, or 0. */
export function progress(contributions, next, q, median = false) {
  const hashes = contributions.slice(0, next).map((c) => sha256("0x00", encoded(c)));
  const peaks = [];
  for (let size = 2 ** 31, begin = 0; size >= 1; size /= 2) {
    if (Math.floor(next / size) % 2 === 0) continue;
    peaks.push(tree(hashes.slice(begin, begin + size)).root);
    begin += size;
  }
  const [weight, steps] = [WEIGHT * next, STEPS * next];
  if (!median) return { next, weight, steps, factor: weight, sum: BigInt(weight) * BigInt(q), ...NO_ORDER, peaks };
  const middle = { least: q, greatest: q, below: 0, atLeast: next, atGreatest: next, above: 0 };
  return { next, weight, steps, factor: next, sum: 0, ...NO_ORDER, middle, peaks };
}
