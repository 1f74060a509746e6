// What challenges, demands and bonds cost. Trees of any size from one leaf and random siblings: only a path is ever shown.
import { createHash } from "node:crypto";
import * as ethers from "ethers";
import { account, coder, unusedModel, word } from "./chain.js";

const COMMIT = "commitUpdate(bytes32,uint64,bytes32,bytes32,uint32)";
const HOUR = 3600;
const ANSWER = 60;
const WEIGHT = 1200;
const BOND = 10n ** 18n;
export const SIZES = { "10^4": 10_000, "10^8": 100_000_000 };
/** How many contributions are opened, and how many of them in each transaction. */
export const OPENED = [[3, 3], [10, 10], [100, 24]];
const CHUNK = 1024;
const EMPTY = { counted: { count: 0, inner: ethers.ZeroHash }, leaf: "0x", proof: [] };
const NONE = { participant: ethers.ZeroAddress, digest: ethers.ZeroHash, tensorRoot: ethers.ZeroHash, weight: 0 };
const NOBODY = { counted: EMPTY.counted, index: 0, contribution: NONE, proof: [] };
const ZEROS = { next: 0, weight: 0, sum: 0, peaks: [] };
const TREE = { Aggregate: 0, Version: 1, Parent: 2, Contribution: 3 };

// 1 - 2^-24 and 1 - 3 * 2^-24, and twice the first: grid values none of whose bytes is zero.
const VALUE = "ffff7f3f";
const OTHER = "fdff7f3f";
const TWICE = "ffffff3f";

const plan = {
  digest: word("plan"), combineRule: 1, serverRule: 1, gridBits: 24, quorum: 1, weightCap: 1 << 20, minContributions: 1,
  commitDuration: 24 * HOUR, publishDuration: HOUR, aggregateDuration: HOUR, challengeDuration: 32 * ANSWER,
  hook: ethers.ZeroAddress, answerDuration: ANSWER, bondGwei: 0,
};

const sha256 = (...parts) => `0x${createHash("sha256").update(ethers.getBytes(ethers.concat(parts))).digest("hex")}`;
const node = (left, right) => sha256("0x01", left, right);
const rootOf = (counted) => sha256("0x02", ethers.toBeHex(counted.count, 8), counted.inner);

/** The opening of the first chunk of a blob, whose path is as long as any, and the blob's root. */
function blob(name, values, value = VALUE) {
  const leaf = `0x${value.repeat(CHUNK)}`;
  const depth = (Math.ceil(values / CHUNK) - 1).toString(2).length;
  const proof = Array.from({ length: depth }, (_, i) => word(`${name} sibling ${i}`));
  const counted = { count: values, inner: proof.reduce(node, sha256("0x00", leaf)) };
  return { opening: { counted, leaf, proof }, root: rootOf(counted) };
}

const encoded = ({ participant, digest, tensorRoot, weight }) =>
  coder.encode(["address", "bytes32", "bytes32", "uint32"], [participant, digest, tensorRoot, weight]);

/** RFC 9162: the root over these hashes, and the path of one of them. */
function tree(hashes, index = 0) {
  if (hashes.length === 1) return { root: hashes[0], path: [] };
  const half = 2 ** (Math.ceil(Math.log2(hashes.length)) - 1);
  const inLeft = index < half;
  const left = tree(hashes.slice(0, half), inLeft ? index : 0);
  const right = tree(hashes.slice(half), inLeft ? 0 : index - half);
  const path = inLeft ? [...left.path, right.root] : [...right.path, left.root];
  return { root: node(left.root, right.root), path };
}

/** The contract's progress after the first `next` contributions; `q` is the grid integer each has, or 0. */
function progress(contributions, next, q) {
  const hashes = contributions.slice(0, next).map((c) => sha256("0x00", encoded(c)));
  const peaks = [];
  for (let size = 2 ** 31, begin = 0; size >= 1; size /= 2) {
    if (Math.floor(next / size) % 2 === 0) continue;
    peaks.push(tree(hashes.slice(begin, begin + size)).root);
    begin += size;
  }
  const weight = WEIGHT * next;
  return { next, weight, sum: BigInt(weight) * BigInt(q), peaks };
}

/** A model whose first round has been attested by aggregator 0, with every blob that it is about. */
async function disputed(chain, { Cairn: cairn, Court: court }, name, { values = 10_000, count = 3, lie = {}, bonded = false } = {}) {
  const owner = account(`owner ${name}`);
  const { genesis, model } = await unusedModel(cairn, owner, name);
  const parent = blob(`${name} parent`, values);
  await cairn.send(owner, "registerModel", genesis, parent.root);
  await cairn.send(owner, "setPlan", model, { ...plan, bondGwei: bonded ? BOND / 10n ** 9n : 0 });
  const people = Array.from({ length: count }, (_, i) => account(`${name} participant ${i}`));
  people.sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1));
  const grants = people.map((who) => ({ account: who, roles: 1 }));
  await cairn.send(owner, "grantRolesBatch", model, [...grants, { account: account("aggregator"), roles: 2 }]);
  await cairn.send(owner, "openRound", model);

  const updates = people.map((_, i) => blob(`${name} update ${i}`, values));
  const contributions = people.map((participant, i) => ({
    participant, digest: word(`${name} digest ${i}`), tensorRoot: updates[i].root, weight: WEIGHT,
  }));
  for (const c of contributions) {
    await cairn.send(c.participant, COMMIT, model, 1, c.digest, c.tensorRoot, c.weight);
  }
  await chain.wait(25 * HOUR);

  const listed = contributions.map((c, i) => (i === 0 && lie.weight ? { ...c, weight: WEIGHT + 1 } : c));
  const hashes = listed.map((c) => sha256("0x00", encoded(c)));
  const list = { count, inner: tree(hashes).root };
  const aggregate = blob(`${name} aggregate`, values, lie.aggregate ? OTHER : VALUE);
  const version = blob(`${name} version`, values, lie.version ? OTHER : TWICE);
  const result = {
    versionDigest: word(`${name} version`), versionRoot: version.root, reportDigest: word(`${name} report`),
    aggregateRoot: aggregate.root, contributionsRoot: rootOf(list), contributions: count,
    totalWeight: WEIGHT * count + (lie.total ? 1 : 0),
  };
  const { runningHash } = await cairn.read("round", model, 1);
  if (bonded) await court.pay(account("aggregator"), BOND, "depositBond", model);
  const attested = await cairn.send(account("aggregator"), "attestResult", model, 1, result, runningHash);
  const member = (index) => ({ counted: list, index, contribution: listed[index], proof: tree(hashes, index).path });
  const steps = (first, last, chunks = true) =>
    listed.slice(first, last).map((contribution, i) => {
      return { contribution, chunk: chunks ? updates[first + i].opening : EMPTY };
    });
  const target = { modelId: model, number: 1, result };
  const { roundId, tally } = await cairn.read("dispute", model, 1);
  const demanded = (root, index, contributions = false) => ({ roundId, tally, root, contributions, index });
  const blobs = { parent, updates, aggregate, version };
  return { model, ...blobs, contributions, listed, target, member, steps, roundId, tally, demanded, attested };
}

const convictVersion = (challenges, d) => challenges.send(
  account("challenger"), "convictVersion", d.target, 0, d.parent.opening, d.aggregate.opening, d.version.opening);

/** Adds contributions up, so many a transaction, and convicts the aggregate with its chunk. */
async function opened(chain, contracts, note, size, count, share) {
  const { Challenges: challenges } = contracts;
  const lie = { aggregate: true };
  const d = await disputed(chain, contracts, `opened ${size} ${count}`, { values: SIZES[size], count, lie });
  const q = 2 ** 24 - 1;
  const who = account("challenger");
  let total = 0;
  for (let first = 0; first < count; first += share) {
    const begun = progress(d.listed, first, q);
    total += await challenges.send(who, "addContributions", d.target, 0, begun, d.steps(first, first + share));
  }
  note(`add a contribution of ${count}, ${size} values, ${share} a transaction`, Math.ceil(total / count));
  const last = progress(d.listed, count, q);
  note(`convict aggregate after ${count}, ${size} values`,
    await challenges.send(who, "convictAggregate", d.target, 0, last, [], d.aggregate.opening));
}

async function demanding(chain, contracts, note, size) {
  const { Court: court } = contracts;
  const d = await disputed(chain, contracts, `demanded ${size}`, { values: SIZES[size], count: 100 });
  const who = account("challenger");
  const ask = (chunkOf, member, index) => court.pay(who, 1000n, "demandChunk", d.target, chunkOf, member, index);
  note(`demand chunk, first in its window, ${size} values`, await ask(TREE.Aggregate, NOBODY, 0));
  note(`demand chunk, ${size} values`, await ask(TREE.Version, NOBODY, 0));
  note(`demand chunk of a contribution of 100, ${size} values`, await ask(TREE.Contribution, d.member(0), 0));
  const shown = d.demanded(d.aggregate.root, 0);
  note(`show chunk, ${size} values`, await court.send(account("aggregator"), "showLeaf", shown, d.aggregate.opening));
  if (size !== "10^4") return;
  note("demand contribution", await court.pay(who, 1000n, "demandContribution", d.target, 5));
  const { counted, contribution, proof } = d.member(5);
  const leaf = { counted, leaf: encoded(contribution), proof };
  note("show contribution of 100",
    await court.send(account("aggregator"), "showLeaf", d.demanded(d.target.result.contributionsRoot, 5, true), leaf));
  await chain.wait(ANSWER + 1);
  note("close demand, unanswered",
    await court.send(who, "closeDemand", d.model, 1, d.demanded(d.version.root, 0)));
  note("close demand, void already",
    await court.send(who, "closeDemand", d.model, 1, d.demanded(d.updates[0].root, 0)));
}

async function atOnce(chain, contracts, note) {
  const { Challenges: challenges } = contracts;
  const who = account("challenger");
  for (const size of Object.keys(SIZES)) {
    const d = await disputed(chain, contracts, `version ${size}`, { values: SIZES[size], lie: { version: true } });
    note(`convict version, ${size} values`, await convictVersion(challenges, d));
  }
  const total = await disputed(chain, contracts, "total", { count: 100, lie: { total: true } });
  note("convict total, 100 contributions",
    await challenges.send(who, "convictTotal", total.target, ZEROS, total.steps(0, 100, false)));

  const d = await disputed(chain, contracts, "uncommitted", { count: 100, lie: { weight: true } });
  const { counted, proof } = d.member(0);
  const leaf = { counted, leaf: encoded(d.listed[0]), proof };
  const replayed = await challenges.send(
    who, "replayCommitments", d.target, sha256("0x00", leaf.leaf), ethers.ZeroHash, d.contributions.slice(0, 50));
  note("replay a commitment, 50 a transaction", Math.ceil(replayed / 50));
  note("convict uncommitted, 100 contributions", await challenges.send(
    who, "convictUncommitted", d.target, 0, leaf, ethers.ZeroHash, d.contributions));
}

async function bonds(chain, contracts, note) {
  const { Cairn: cairn, Challenges: challenges, Court: court } = contracts;
  const aggregator = account("aggregator");
  const who = account("challenger");
  const d = await disputed(chain, contracts, "bonded", { bonded: true, lie: { version: true } });
  note("attest with a bond, quorum of one", d.attested);
  const claim = ethers.keccak256(coder.encode(["bytes32", "bytes32", "uint8", "uint256"], [d.roundId, d.tally, 1, 0]));
  const seal = ethers.keccak256(coder.encode(["address", "bytes32", "bytes32"], [who, word("salt"), claim]));
  note("seal claim", await court.send(who, "sealClaim", seal));
  await convictVersion(challenges, d);
  const none = d.demanded(ethers.ZeroHash, 0);
  note("reveal claim", await court.send(who, "revealClaim", d.roundId, d.tally, word("salt"), none));
  note("expel one with a bond", await cairn.send(account("anyone"), "expel", d.model, 1, [aggregator]));
  await chain.wait(plan.challengeDuration);
  note("collect reward", await court.send(account("anyone"), "collectReward", d.roundId, d.tally));
  note("withdraw", await court.send(who, "withdraw"));
  note("deposit bond", await court.pay(account("anyone"), BOND, "depositBond", d.model));
  note("release bond", await court.send(account("anyone"), "releaseBond", d.model, BOND));

  const free = await disputed(chain, contracts, "free", { lie: { version: true } });
  note("attest, quorum of one, plan without a bond", free.attested);
  await convictVersion(challenges, free);
  note("expel one", await cairn.send(account("anyone"), "expel", free.model, 1, [aggregator]));
}

export async function measureDisputes(chain, contracts, note) {
  for (const size of Object.keys(SIZES)) {
    for (const [count, share] of OPENED) {
      await opened(chain, contracts, note, size, count, share);
    }
    await demanding(chain, contracts, note, size);
  }
  await atOnce(chain, contracts, note);
  await bonds(chain, contracts, note);
}
