// What challenges of a selection cost: one row of two contributions, and the rule redone for as many as may be.
import * as ethers from "ethers";
import { account, word } from "./chain.js";
import { disputed, SIZES } from "./disputes.js";
import { pathAbove, rootOf, sha256, tree } from "./trees.js";

const COUNT = 32;
const ROW = 4096;
/** Everybody counts once under these, but not under the rules: any other choice is false. */
export const SELECTING = {
  "Multi-Krum": { rule: 5, shape: 3, parameters: [7, 1, 0, 0] },
  "the geometric median, 4 steps": { rule: 6, shape: 3, parameters: [4, 0, 0] },
  "the geometric median, 64 steps": { rule: 6, shape: 3, parameters: [64, 0, 0] },
  "Multi-Krum after mixing": { rule: 5, shape: 3, parameters: [7, 1, 10, 0] },
  "clipped norms": { rule: 7, shape: 3, parameters: [0, 0, 0] },
  "Bulyan": { rule: 8, shape: 4, parameters: [14] },
};

/** As long as a report's head with a Gram part, and nothing else of it. */
function headOf(root) {
  const filled = (bytes) => ethers.hexlify(new Uint8Array(bytes).fill(7));
  return ethers.concat([filled(361), root, ethers.ZeroHash, filled(41)]);
}

/** Sums of inner products of updates far apart: of each with itself more than with others. */
function leafOf(k, by = 0n) {
  const words = Array.from({ length: COUNT }, (_, j) => (1n << 70n) * 3n + (j === k ? (1n << 71n) * BigInt(k + 2) : 0n));
  words[0] += by;
  return ethers.concat(words.map((word_) => ethers.toBeHex(word_, 32)));
}

/** The openings of leaf 0 of the first two rows of a tree, and its root. */
function twoRows(values) {
  const hashes = Array.from({ length: 2 * COUNT }, (_, i) => word(`sums ${i}`));
  const leaves = [leafOf(0), leafOf(0, 1n)];
  leaves.forEach((leaf, row) => { hashes[row * COUNT] = sha256("0x00", leaf); });
  const all = Math.ceil(values / ROW) * COUNT;
  const { inner, proof } = pathAbove("sums", all, tree(hashes).root, 2 * COUNT);
  const counted = { count: all * COUNT, inner };
  const open = (row) => ({ counted, leaf: leaves[row], proof: [...tree(hashes, row * COUNT).path, ...proof] });
  return { root: rootOf(counted), sumsBefore: open(0), sums: open(1) };
}

/** The last row, and the subtrees before it. */
function lastRow(values) {
  const leaves = Array.from({ length: COUNT }, (_, k) => leafOf(k));
  const before = Math.ceil(values / ROW) - 1;
  const peaks = [...before.toString(2)].filter((bit) => bit === "1").map((_, i) => word(`peak ${i}`));
  let inner = tree(leaves.map((leaf) => sha256("0x00", leaf))).root;
  let rest = before;
  const left = [...peaks];
  // Appended to what stands before: the lowest peaks are merged where the counts say so, or at the end.
  while (rest % 2 === 1) {
    inner = sha256("0x01", left.pop(), inner);
    rest = Math.floor(rest / 2);
  }
  while (left.length > 0) inner = sha256("0x01", left.pop(), inner);
  const root = rootOf({ count: (before + 1) * COUNT * COUNT, inner });
  return { root, products: ethers.concat(leaves), peaks };
}

export async function measureSelections(chain, contracts, note) {
  const { Selections: selections, Court: court } = contracts;
  const who = account("challenger");
  for (const [size, values] of Object.entries(SIZES)) {
    const { root, sumsBefore, sums } = twoRows(values);
    const head = headOf(root);
    const select = { ...SELECTING["Multi-Krum"], head };
    const d = await disputed(chain, contracts, `product ${size}`, { values, count: COUNT, select });
    note(`demand inner products, first in its window, ${size} values`,
      await court.pay(who, 1000n, "demandGram", d.target, head, [0]));
    const demanded = d.demanded(root, 0, [32, COUNT]);
    note(`show inner products of ${COUNT}, ${size} values`,
      await court.send(account("aggregator"), "showLeaf", demanded, sumsBefore));
    const side = (k) => ({ membership: d.member(k), ...d.updates[k].row });
    const product = { row: 1, left: side(0), right: side(1), sumsBefore, sums, finest: d.segment, segments: [d.segment] };
    // Of contributions 0 and 1 the sum does not change: a row adds far more.
    note(`convict product, ${size} values`,
      await selections.send(who, "convictProduct", d.target, d.basis, head, product));
  }
  const { root, products, peaks } = lastRow(SIZES["10^8"]);
  for (const [name, rule] of Object.entries(SELECTING)) {
    const head = headOf(root);
    const d = await disputed(chain, contracts, name, { values: SIZES["10^8"], count: COUNT, select: { ...rule, head } });
    const selection = { contributions: d.listed, products, peaks };
    note(`convict a selection of ${COUNT} by ${name}`,
      await selections.send(who, "convictSelection", d.target, d.basis, head, selection));
  }
}
