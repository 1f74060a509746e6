// What challenges, demands and bonds cost, on trees of any size.
import * as ethers from "ethers";
import { account, coder, setPlan, unusedModel, word } from "./chain.js";
import {
  blob, committed, encoded, FEDADAM, FEDAVG, FORMS, MOMENTS, NO_ORDER, OTHER, OTHER_MOMENTS, packedBlob, progress, rootOf,
  ruleBook, secondRow, sha256, stateBlob, stateless,
  tree, TWICE, VALUE, WEIGHT, STEPS,
} from "./trees.js";

const COMMIT = "commitUpdate(bytes32,uint64,bytes32,bytes32,uint32,uint32)";
const HOUR = 3600;
const ANSWER = 60;
const BOND = 10n ** 18n;
export const SIZES = { "10^4": 10_000, "10^8": 100_000_000 };
/** How many contributions are opened, and how many of them in each transaction. */
export const OPENED = [[3, 3], [10, 10], [100, 50]];
const EMPTY = { counted: { count: 0, inner: ethers.ZeroHash }, leaf: "0x", proof: [] };
const NONE = {
  participant: ethers.ZeroAddress, digest: ethers.ZeroHash, tensorRoot: ethers.ZeroHash, weight: 0, steps: 0, factor: 0,
};
const NOBODY = { counted: EMPTY.counted, index: 0, contribution: NONE, proof: [] };
const ZEROS = { next: 0, weight: 0, steps: 0, factor: 0, sum: 0, ...NO_ORDER, peaks: [] };
const NO_BASIS = { rules: "0x", parent: { ...stateless(ethers.ZeroHash), rest: ethers.ZeroHash } };
const TREE = { Aggregate: 0, Version: 1, Parent: 2, Contribution: 3, State: 4, ParentState: 5 };
/** Bytes of an entry, and entries in a leaf. */
const VALUES = [4, 256];
const STATES = [8, 128];
const HEAD = [0, 0];
/** As long as a version's head, and another round's for all that it says. */
const FOREIGN = ethers.hexlify(new Uint8Array(370).fill(7));
const LIST = [192, 1];

const plan = {
  digest: word("plan"), rulesHash: ethers.ZeroHash, quorum: 1, weightCap: 1 << 20, minContributions: 1,
  commitDuration: 24 * HOUR, publishDuration: HOUR, aggregateDuration: HOUR, challengeDuration: 32 * ANSWER,
  answerDuration: ANSWER,
};

async function attest(cairn, model, number, result) {
  const { runningHash } = await cairn.read("round", model, number);
  return cairn.send(account("aggregator"), "attestResult", model, number, result, runningHash);
}

/** Makes the first round of a model, whose version keeps a state; returns the version's roots and what that cost. */
async function firstState(chain, cairn, model, name, parent, before, stateLayout, participant) {
  const number = 1;
  await cairn.send(participant, COMMIT, model, number, word(`${name} first`), parent.root, WEIGHT, STEPS);
  await chain.wait(25 * HOUR);
  const roots = { ...stateless(parent.root), state: before.root, stateLayout, step: 1 };
  const result = {
    versionDigest: word(`${name} first version`), roots, reportDigest: word(`${name} first report`),
    aggregateRoot: word(`${name} first aggregate`), contributionsRoot: word(`${name} first list`), contributions: 1,
    totalWeight: WEIGHT, totalSteps: STEPS, divisor: WEIGHT,
  };
  const attested = await attest(cairn, model, number, result);
  await chain.wait(plan.challengeDuration);
  const finalized = await cairn.send(account("anyone"), "finalizeRound", model, number, result);
  await cairn.send(account("aggregator"), "openRound", model);
  return { roots, attested, finalized };
}

/** A model whose last round has been attested by aggregator 0, with every blob that it is about. */
export async function disputed(
  chain, { Cairn: cairn, Court: court, Rules: rulesContract }, name,
  { values = 10_000, count = 3, lie = {}, bonded = false, late = false, program = FEDAVG, median = false, select = null, form = null } = {},
) {
  const owner = account(`owner ${name}`);
  const { genesis, model } = await unusedModel(cairn, owner, name);
  const { rules, rulesHash, segment } = ruleBook(program, values, median, select, form);
  const parent = blob(`${name} parent`, values);
  await cairn.send(owner, "registerModel", genesis, parent.root, word("rest"));
  const terms = late ? { challengeDuration: 2 * plan.challengeDuration, lateDuration: ANSWER } : {};
  const bondGwei = bonded ? BOND / 10n ** 9n : 0;
  await setPlan(cairn, owner, model, { ...plan, ...terms, rulesHash, bondGwei }, rules);
  const people = Array.from({ length: count }, (_, i) => account(`${name} participant ${i}`));
  people.sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1));
  const grants = people.map((who) => ({ account: who, roles: 1 }));
  await cairn.send(owner, "grantRolesBatch", model, [...grants, { account: account("aggregator"), roles: 2 }]);
  await cairn.send(owner, "openRound", model);
  const stateLayout = await rulesContract.read("layoutOf", rules);
  const stateful = BigInt(stateLayout) !== 0n;
  const stateBefore = stateBlob(`${name} state before`, values);
  const first = stateful && await firstState(chain, cairn, model, name, parent, stateBefore, stateLayout, people[0]);
  const number = stateful ? 2 : 1;

  const update = (i) => {
    if (form) return packedBlob(`${name} update ${i}`, values, form);
    return (select ? secondRow : blob)(`${name} update ${i}`, values);
  };
  const updates = people.map((_, i) => update(i));
  const contributions = people.map((participant, i) => ({
    participant, digest: word(`${name} digest ${i}`), tensorRoot: updates[i].root, weight: WEIGHT, steps: STEPS,
    factor: median || select ? 1 : WEIGHT,
  }));
  for (const c of contributions) {
    await cairn.send(c.participant, COMMIT, model, number, c.digest, c.tensorRoot, c.weight, c.steps);
  }
  await chain.wait(25 * HOUR);

  const spoilt = {
    ...(lie.weight && { weight: WEIGHT + 1 }), ...(lie.factor && { factor: WEIGHT - 1 }),
    ...(lie.twice && { digest: contributions[1].digest }),
  };
  const listed = [{ ...contributions[0], ...spoilt }, ...contributions.slice(1)];
  const hashes = listed.map((c) => sha256("0x00", encoded(c)));
  const list = { count, inner: tree(hashes).root };
  const aggregate = blob(`${name} aggregate`, values, lie.aggregate ? OTHER : VALUE);
  const version = blob(`${name} version`, values, lie.version ? OTHER : TWICE);
  const state = stateBlob(`${name} state`, values, lie.state ? OTHER_MOMENTS : MOMENTS);
  const made = stateless(version.root);
  const roots = stateful ? { ...made, state: state.root, stateLayout, step: first.roots.step + 1 } : made;
  const result = {
    versionDigest: lie.head ? sha256(FOREIGN) : word(`${name} version`), roots: lie.rest ? { ...roots, rest: word("another rest") } : roots,
    reportDigest: select ? sha256(select.head) : word(`${name} report`), aggregateRoot: aggregate.root, contributionsRoot: rootOf(list),
    contributions: count, totalWeight: WEIGHT * count + (lie.total ? 1 : 0), totalSteps: STEPS * count,
    divisor: (median || select ? 1 : WEIGHT) * count,
  };
  if (bonded) await court.pay(account("aggregator"), BOND, "depositBond", model);
  const attested = await attest(cairn, model, number, result);
  const member = (index) => ({ counted: list, index, contribution: listed[index], proof: tree(hashes, index).path });
  const steps = (begin, end, chunks = true) =>
    listed.slice(begin, end).map((contribution, i) => {
      return { contribution, chunk: chunks ? updates[begin + i].opening : EMPTY };
    });
  const target = { modelId: model, number, result };
  const basis = { rules, parent: stateful ? first.roots : stateless(parent.root) };
  const before = {
    coordinate: 0, segment, parent: parent.opening, aggregate: aggregate.opening,
    state: stateful ? stateBefore.opening : EMPTY,
  };
  const { roundId, tally } = await cairn.read("dispute", model, number);
  const demanded = (root, index, [entryBytes, entries] = VALUES) => {
    return { roundId, tally, root, entryBytes, entries, index };
  };
  const blobs = { parent, updates, aggregate, version, state, segment };
  return {
    model, ...blobs, contributions, listed, target, basis, before, member, steps, roundId, tally, demanded, attested, first,
  };
}

const convictVersion = (challenges, d) => challenges.send(
  account("challenger"), "convictVersion", d.target, d.basis, d.before, d.version.opening);

/** Adds contributions up, so many a transaction, and convicts the aggregate with its chunk. */
async function opened(chain, contracts, note, size, count, share, { median = false, named = "" } = {}) {
  const { Challenges: challenges } = contracts;
  const lie = { aggregate: true };
  const form = FORMS[named];
  const setting = { values: SIZES[size], count, lie, median, form };
  const d = await disputed(chain, contracts, `opened ${median} ${named} ${size} ${count}`, setting);
  const q = form ? form.q : 2 ** 24 - 1;
  const who = account("challenger");
  let total = 0;
  for (let first = 0; first < count; first += share) {
    const begun = progress(d.listed, first, q, median);
    if (median) Object.assign(begun.middle, { least: q, greatest: q });
    total += await challenges.send(who, "addContributions", d.target, d.basis, 0, begun, d.steps(first, first + share));
  }
  const rule = median ? "median of" : "aggregate after";
  const packed = named && ` in ${named}`;
  note(`add a contribution of ${count}${median ? " to a median" : packed}, ${size} values, ${share} a transaction`,
    Math.ceil(total / count));
  const last = progress(d.listed, count, q, median);
  note(`convict ${rule} ${count}${packed}, ${size} values`,
    await challenges.send(who, "convictAggregate", d.target, d.basis, 0, last, [], d.aggregate.opening));
}

async function demanding(chain, contracts, note, size) {
  const { Court: court } = contracts;
  const d = await disputed(chain, contracts, `demanded ${size}`, { values: SIZES[size], count: 100 });
  const who = account("challenger");
  const ask = (chunkOf, member, index) =>
    court.pay(who, 1000n, "demandChunks", d.target, member === NOBODY ? NO_BASIS : d.basis, chunkOf, member, [index]);
  note(`demand chunk, first in its window, ${size} values`, await ask(TREE.Aggregate, NOBODY, 0));
  note(`demand chunk, ${size} values`, await ask(TREE.Version, NOBODY, 0));
  note(`demand chunk of a contribution of 100, ${size} values`, await ask(TREE.Contribution, d.member(0), 0));
  const shown = d.demanded(d.aggregate.root, 0);
  note(`show chunk, ${size} values`, await court.send(account("aggregator"), "showLeaf", shown, d.aggregate.opening));
  const shares = d.updates.slice(1, 11);
  for (let i = 1; i <= shares.length; i += 1) await ask(TREE.Contribution, d.member(i), 0);
  const answers = shares.map(({ root, opening }) => ({ demanded: d.demanded(root, 0), opening }));
  note(`show one of 10 chunks, ${size} values`,
    Math.ceil(await court.send(account("aggregator"), "showLeaves", answers) / 10));
  if (size !== "10^4") return;
  const ten = Array.from({ length: 10 }, (_, i) => i + 1);
  note("demand one of 10 chunks",
    Math.ceil(await court.pay(who, 10_000n, "demandChunks", d.target, NO_BASIS, TREE.Aggregate, NOBODY, ten) / 10));
  note("demand contribution", await court.pay(who, 1000n, "demandContributions", d.target, [5]));
  const { counted, contribution, proof } = d.member(5);
  const leaf = { counted, leaf: encoded(contribution), proof };
  note("show contribution of 100",
    await court.send(account("aggregator"), "showLeaf", d.demanded(d.target.result.contributionsRoot, 5, LIST), leaf));
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
  const spoilt = await disputed(chain, contracts, "rest", { lie: { rest: true } });
  note("convict roots", await challenges.send(who, "convictRoots", spoilt.target, spoilt.basis));
  const total = await disputed(chain, contracts, "total", { count: 100, lie: { total: true } });
  note("convict total, 100 contributions",
    await challenges.send(who, "convictTotal", total.target, total.basis, ZEROS, total.steps(0, 100, false)));

  const d = await disputed(chain, contracts, "uncommitted", { count: 100, lie: { weight: true } });
  const { counted, proof } = d.member(0);
  const leaf = { counted, leaf: encoded(d.listed[0]), proof };
  const replayed = await challenges.send(
    who, "replayCommitments", d.target, ethers.keccak256(committed(d.listed[0])), ethers.ZeroHash,
    d.contributions.slice(0, 50));
  note("replay a commitment, 50 a transaction", Math.ceil(replayed / 50));
  note("convict uncommitted, 100 contributions", await challenges.send(
    who, "convictUncommitted", d.target, 0, leaf, ethers.ZeroHash, d.contributions));
}

/** The same with a state: FedAdam's second round, on the state of its first. */
async function withState(chain, contracts, note, size) {
  const { Challenges: challenges, Court: court } = contracts;
  const who = account("challenger");
  const begin = (name, lie) =>
    disputed(chain, contracts, `${name} ${size}`, { values: SIZES[size], lie, program: FEDADAM });
  const version = await begin("stepped", { version: true });
  note(`convict version under FedAdam, ${size} values`, await convictVersion(challenges, version));
  const state = await begin("moments", { state: true });
  note(`convict state under FedAdam, ${size} values`, await challenges.send(
    who, "convictState", state.target, state.basis, state.before, state.state.opening));
  const d = await begin("kept", {});
  note(`demand chunk of a state, first in its window, ${size} values`, await court.pay(
    who, 1000n, "demandChunks", d.target, d.basis, TREE.State, NOBODY, [0]));
  note(`demand chunk of a state, ${size} values`, await court.pay(
    who, 1000n, "demandChunks", d.target, d.basis, TREE.ParentState, NOBODY, [0]));
  note(`show chunk of a state, ${size} values`, await court.send(
    account("aggregator"), "showLeaf", d.demanded(d.state.root, 0, STATES), d.state.opening));
  if (size !== "10^4") return;
  note("attest with a state, quorum of one", d.attested);
  note("finalize round, with a state", d.first.finalized);
  const roots = await begin("layout", { rest: true });
  note("convict roots under FedAdam", await challenges.send(who, "convictRoots", roots.target, roots.basis));
}

async function factors(chain, contracts, note) {
  const d = await disputed(chain, contracts, "factor", { count: 100, lie: { factor: true } });
  const { counted, proof } = d.member(0);
  note("convict factor, 100 contributions", await contracts.Challenges.send(
    account("challenger"), "convictFactor", d.target, d.basis, 0, { counted, leaf: encoded(d.listed[0]), proof }));
}

async function twice(chain, contracts, note) {
  const d = await disputed(chain, contracts, "twice", { count: 100, lie: { twice: true } });
  note("convict twice, 100 contributions", await contracts.Challenges.send(
    account("challenger"), "convictTwice", d.target, d.member(0), d.member(1)));
}

async function heads(chain, contracts, note) {
  const { Challenges: challenges, Court: court } = contracts;
  const who = account("challenger");
  const VERSION = 1;
  const d = await disputed(chain, contracts, "head", { lie: { head: true } });
  note("demand head", await court.pay(who, 1000n, "demandHead", d.target, VERSION, NOBODY));
  const digest = d.target.result.versionDigest;
  note("show head", await court.send(
    account("aggregator"), "showLeaf", d.demanded(digest, 0, HEAD), { ...EMPTY, leaf: FOREIGN }));
  note("convict head", await challenges.send(who, "convictHead", d.target, VERSION, NOBODY, FOREIGN));
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
  note("withdraw", await court.send(who, "withdraw", who));
  note("deposit bond", await court.pay(account("anyone"), BOND, "depositBond", d.model));
  note("release bond", await court.send(account("anyone"), "releaseBond", d.model, BOND));

  const away = await disputed(chain, contracts, "away", { bonded: true, late: true });
  await court.pay(who, 2000n, "demandChunks", away.target, NO_BASIS, TREE.Aggregate, NOBODY, [0, 1]);
  await chain.wait(ANSWER + 1);
  note("show chunk late, quorum of one", await court.send(
    aggregator, "showLate", away.model, 1, away.demanded(away.aggregate.root, 0), away.aggregate.opening, [aggregator]));

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
    await opened(chain, contracts, note, size, 100, 50, { median: true });
    for (const named of Object.keys(FORMS)) await opened(chain, contracts, note, size, 100, 50, { named });
    await demanding(chain, contracts, note, size);
    await withState(chain, contracts, note, size);
  }
  await atOnce(chain, contracts, note);
  await factors(chain, contracts, note);
  await twice(chain, contracts, note);
  await heads(chain, contracts, note);
  await bonds(chain, contracts, note);
}
