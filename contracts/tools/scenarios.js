// The transactions that gas.js measures. Each figure is a receipt's gasUsed in steady state: no slot is written for the
// first time that is not new in every round.
import * as ethers from "ethers";
import { account, artifact, coder, compiled, setPlan, startChain, unusedModel, word } from "./chain.js";
import { measureDisputes } from "./disputes.js";
import { measureSelections } from "./selections.js";
import { FEDADAM, FEDAVG, ruleBook, stateless, STEPS, WEIGHT } from "./trees.js";

const COMMIT = "commitUpdate(bytes32,uint64,bytes32,bytes32,uint32,uint32)";
const COMMIT_HOOKED = "commitUpdate(bytes32,uint64,bytes32,bytes32,uint32,uint32,bytes[])";
const PARTICIPANT = 1;
const AGGREGATOR = 2;
const VALIDATOR = 16;
const HOUR = 3600;

const update = [word("update"), word("tensor root"), WEIGHT, STEPS];
const rules = { fedavg: ruleBook(FEDAVG), fedadam: ruleBook(FEDADAM) };
const plan = {
  digest: word("plan"), rulesHash: rules.fedavg.rulesHash, quorum: 3, weightCap: 1 << 20, minContributions: 2,
  commitDuration: 24 * HOUR, publishDuration: HOUR, aggregateDuration: HOUR, challengeDuration: HOUR,
  answerDuration: 60,
};
const result = (name, contributions = 3) => ({
  versionDigest: word(`version ${name}`), roots: stateless(word(`version root ${name}`)),
  reportDigest: word(`report ${name}`), aggregateRoot: word(`aggregate ${name}`),
  contributionsRoot: word(`contributions ${name}`), contributions, totalWeight: contributions * WEIGHT,
  totalSteps: contributions * STEPS, divisor: contributions * WEIGHT,
});

/** Registers a model with its members and leaves its second round open, one commitment by account 0 in each round. */
async function prepare(cairn, name, members, note = () => {}, terms = plan) {
  const owner = account(`owner ${name}`);
  const { genesis, model } = await unusedModel(cairn, owner, name);
  note("register model", await cairn.send(owner, "registerModel", genesis, word("genesis root"), word("rest")));
  note("set plan", await setPlan(cairn, owner, model, terms, rules.fedavg.rules));
  note("grant one role", await cairn.send(owner, "grantRoles", model, account(0), PARTICIPANT));
  const grants = Array.from({ length: members }, (_, i) => ({ account: account(i), roles: PARTICIPANT })).slice(1);
  for (const i of ["a", "b", "c"]) grants.push({ account: account(i), roles: AGGREGATOR });
  for (let i = 0; i < grants.length; i += 300) {
    await cairn.send(owner, "grantRolesBatch", model, grants.slice(i, i + 300));
  }
  note("open round, first", await cairn.send(owner, "openRound", model));
  for (const i of [0, 1, 2]) await cairn.send(account(i), COMMIT, model, 1, ...update);
  note("cancel round", await cairn.send(owner, "cancelRound", model, 1));
  note("open round, next", await cairn.send(owner, "openRound", model));
  await cairn.send(account(0), COMMIT, model, 2, ...update);
  return { owner, model };
}

async function wholeRound(chain, cairn, note) {
  const { owner, model } = await prepare(cairn, "small", 3, note);
  note("commit, 1 earlier, 3 members", await cairn.send(account(1), COMMIT, model, 2, ...update));
  await cairn.send(account(2), COMMIT, model, 2, ...update);
  const all = [0, 1, 2].map(account).sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1));
  note("end commits, 3 members", await cairn.send(owner, "endCommits", model, 2, all));
  await chain.wait(HOUR);
  const { runningHash } = await cairn.read("round", model, 2);
  const attest = (who, what) => cairn.send(account(who), "attestResult", model, 2, what, runningHash);
  note("attest, first", await attest("a", result("one", 2)));
  await attest("b", result("two"));
  note("attest, moved", await attest("a", result("two")));
  note("attest, quorum", await attest("c", result("two")));
  await chain.wait(HOUR);
  note("finalize round", await cairn.send(account("anyone"), "finalizeRound", model, 2, result("two")));
  const adaptive = { ...plan, rulesHash: rules.fedadam.rulesHash };
  note("set plan, FedAdam", await setPlan(cairn, owner, model, adaptive, rules.fedadam.rules));
}

async function otherAttestations(chain, cairn, note) {
  const { model } = await prepare(cairn, "equal", 3);
  const single = await prepare(cairn, "single", 3, undefined, { ...plan, quorum: 1 });
  for (const id of [model, single.model]) {
    for (const i of [1, 2]) await cairn.send(account(i), COMMIT, id, 2, ...update);
  }
  await chain.wait(25 * HOUR);
  const attest = async (id, who) => {
    const { runningHash } = await cairn.read("round", id, 2);
    return cairn.send(account(who), "attestResult", id, 2, result("one"), runningHash);
  };
  await attest(model, "a");
  note("attest, other", await attest(model, "b"));
  note("attest, quorum of one", await attest(single.model, "a"));
}

async function manyMembers(cairn, note) {
  const large = await prepare(cairn, "large", 3000);
  note("commit, 1 earlier, 3000 members", await cairn.send(account(1), COMMIT, large.model, 2, ...update));
  const { model } = await prepare(cairn, "huge", 10_001);
  for (let i = 1; i <= 10_000; i++) {
    const gas = await cairn.send(account(i), COMMIT, model, 2, ...update);
    if ([1, 100, 10_000].includes(i)) note(`commit, ${i} earlier, 10001 members`, gas);
  }
}

async function delegated(chain, cairn, note) {
  const { owner, model } = await prepare(cairn, "delegated", 3);
  const key = new ethers.SigningKey(word("key"));
  const signer = ethers.computeAddress(key.publicKey);
  const wallet = await chain.deploy(compiled("contracts/test/mocks/Wallet.sol", "Wallet"), signer);
  for (const [name, participant] of [["an EOA", signer], ["an EIP-1271 wallet", wallet.address]]) {
    await cairn.send(owner, "grantRoles", model, participant, PARTICIPANT);
    const signed = await sign(cairn, model, key, participant);
    note(`commit for ${name}`, await cairn.send(account("relayer"), "commitUpdateFor", model, 2, signed));
  }
}

async function sign(cairn, model, key, participant, number = 2) {
  const [digest, tensorRoot, weight, steps] = update;
  const said = { participant, digest, tensorRoot, weight, steps, validUntil: 2 ** 31, hookData: [] };
  const hash = await cairn.read("commitmentHash", model, number, { ...said, signature: "0x" });
  return { ...said, signature: key.sign(hash).serialized };
}

/** Lists of signed updates: those of members who committed in an earlier round, so in steady state. */
async function batches(cairn, note) {
  const keys = Array.from({ length: 121 }, (_, i) => new ethers.SigningKey(word(`key ${i}`)));
  const signers = keys.map((key) => ethers.computeAddress(key.publicKey));
  const { owner, model } = await prepare(cairn, "batches", 3);
  await cairn.send(owner, "cancelRound", model, 2);
  await cairn.send(owner, "grantRolesBatch", model, signers.map((who) => ({ account: who, roles: PARTICIPANT })));
  await cairn.send(owner, "openRound", model);
  for (const who of signers) await cairn.send(who, COMMIT, model, 3, ...update);
  await cairn.send(owner, "cancelRound", model, 3);
  await cairn.send(owner, "openRound", model);
  await cairn.send(account(0), COMMIT, model, 4, ...update);
  const lists = await Promise.all(keys.map((key, i) => sign(cairn, model, key, signers[i], 4)));
  let first = 0;
  for (const count of [1, 10, 100]) {
    const gas = await cairn.send(account("relayer"), "commitUpdatesFor", model, 4, lists.slice(first, first + count));
    note(`commit one of a list of ${count}`, Math.ceil(gas / count));
    first += count;
  }
  const again = await cairn.send(account("relayer"), "commitUpdatesFor", model, 4, lists.slice(1, 11));
  note("skip one of a list of 10", Math.ceil(again / 10));
}

async function hooked(chain, cairn, note) {
  const depth = 10;
  const proof = Array.from({ length: depth }, (_, i) => word(`sibling ${i}`));
  const leaf = ethers.keccak256(ethers.keccak256(coder.encode(["address"], [account(0)])));
  const root = proof.reduce((node, next) => ethers.keccak256(ethers.concat([node, next].sort())), leaf);
  const hook = await chain.deploy(artifact("registry/chain/artifacts/AllowListHook.json"), root);
  note("deploy AllowListHook", hook.gas);
  const { owner, model } = await prepare(cairn, "hooked", 3);
  await cairn.send(owner, "cancelRound", model, 2);
  await setPlan(cairn, owner, model, { ...plan, hooks: [hook.address] }, rules.fedavg.rules);
  await cairn.send(owner, "openRound", model);
  const hookData = coder.encode(["bytes32[]"], [proof]);
  note(`commit past AllowListHook, list of ${2 ** depth}`,
    await cairn.send(account(0), COMMIT_HOOKED, model, 3, ...update, [hookData]));
}

async function labelled(cairn, labels, note) {
  const { owner, model } = await prepare(cairn, "labelled", 3);
  const { head } = await cairn.read("model", model);
  await cairn.send(owner, "cancelRound", model, 2);
  await cairn.send(owner, "publishVersion", model, head, word("next"), word("next root"), word("rest"));
  note("set alias, new", await labels.send(owner, "setAlias", model, "production", head));
  note("set alias, moved", await labels.send(owner, "setAlias", model, "production", word("next")));
  note("remove alias", await labels.send(owner, "removeAlias", model, "production"));
  note("add tag", await labels.send(owner, "addTag", model, head, "audited"));
  note("add note of 280 bytes", await labels.send(owner, "addNote", model, head, "0x" + "41".repeat(280)));
}

async function scored(chain, cairn, scores, note) {
  const { owner, model } = await prepare(cairn, "scored", 3, undefined, { ...plan, quorum: 1 });
  for (const i of [1, 2]) await cairn.send(account(i), COMMIT, model, 2, ...update);
  await chain.wait(25 * HOUR);
  const { runningHash } = await cairn.read("round", model, 2);
  await cairn.send(account("a"), "attestResult", model, 2, result("scored"), runningHash);
  const validators = [1, 2, 3].map((i) => account(`validator ${i}`));
  for (const who of validators) await cairn.send(owner, "grantRoles", model, who, VALIDATOR);
  note("set score terms", await scores.send(owner, "setScoreTerms", model, [3, HOUR, HOUR]));
  const { resultHash } = await cairn.read("round", model, 2);
  const of = [model, 2, resultHash];
  const said = (i) => [500000 - i, word(`predictions ${i}`)];
  for (const [i, who] of validators.entries()) {
    const commitment = await scores.read("scoreCommitment", ...of, who, ...said(i));
    const gas = await scores.send(who, "commitScore", ...of, commitment);
    if (i < 2) note(i === 0 ? "commit score, the first" : "commit score, another", gas);
  }
  await chain.wait(HOUR);
  for (const [i, who] of validators.entries()) {
    const gas = await scores.send(who, "revealScore", ...of, ...said(i));
    if (i !== 1) note(i === 0 ? "reveal score, the first" : "reveal score, past two", gas);
  }
}

/** The same record by what else there is: EAS as its package ships it, and an event that nothing guards. */
async function measurePeers(chain) {
  const folder = "node_modules/@ethereum-attestation-service/eas-contracts/artifacts/contracts";
  const registry = await chain.deploy(artifact(`${folder}/SchemaRegistry.sol/SchemaRegistry.json`));
  const eas = await chain.deploy(artifact(`${folder}/EAS.sol/EAS.json`), registry.address);
  const text = "bytes32 roundId,bytes32 digest,bytes32 tensorRoot,uint32 weight,uint32 steps";
  await registry.send(account(0), "register", text, ethers.ZeroAddress, false);
  const schema = ethers.solidityPackedKeccak256(["string", "address", "bool"], [text, ethers.ZeroAddress, false]);
  const record = coder.encode(["bytes32", "bytes32", "bytes32", "uint32", "uint32"], [word("round"), ...update]);
  const data = { recipient: ethers.ZeroAddress, expirationTime: 0, revocable: false, refUID: ethers.ZeroHash, value: 0 };
  await eas.send(account(0), "attest", { schema, data: { ...data, data: record } });
  const event = await chain.deploy(compiled("contracts/test/peers/BareEvent.sol", "BareEvent"));
  return {
    "EAS attest": await eas.send(account(1), "attest", { schema, data: { ...data, data: record } }),
    "bare event": await event.send(account(0), "commitUpdate", word("round"), ...update),
  };
}

export async function measure() {
  const chain = await startChain();
  const figures = {};
  const note = (name, gas) => {
    figures[name] = gas;
  };
  const contracts = await chain.deployAll();
  for (const [name, { gas }] of Object.entries(contracts)) note(`deploy ${name}`, gas);
  const { Cairn: cairn, Labels: labels, Scores: scores } = contracts;
  await wholeRound(chain, cairn, note);
  await otherAttestations(chain, cairn, note);
  await delegated(chain, cairn, note);
  await batches(cairn, note);
  await hooked(chain, cairn, note);
  await labelled(cairn, labels, note);
  await scored(chain, cairn, scores, note);
  await manyMembers(cairn, note);
  await measureDisputes(chain, contracts, note);
  await measureSelections(chain, contracts, note);
  return { cairn: figures, peers: await measurePeers(chain) };
}
