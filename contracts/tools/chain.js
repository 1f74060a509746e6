// Hardhat's in-process chain (prague) as the gas scenarios use it. No fees; each figure is a receipt's gasUsed.
import { readFileSync } from "node:fs";
import path from "node:path";
import * as ethers from "ethers";
import hre from "hardhat";
import { compile, DEPLOYED, gather, OUTPUT, ROOT, SETTINGS } from "./compiler.js";

export const coder = ethers.AbiCoder.defaultAbiCoder();
/** Digests hold no zero byte, so calldata costs what it costs at most. */
export const word = (text) => ethers.id(text).replace(/(..)/g, (byte) => (byte === "00" ? "01" : byte));
export const account = (i) => ethers.getAddress(ethers.dataSlice(ethers.id(`account ${i}`), 0, 20));

/** A genesis whose model's id holds no zero byte either: what a figure is must not hang on where Cairn is. */
export async function unusedModel(cairn, owner, name) {
  for (let i = 0; ; i++) {
    const genesis = word(`${name} ${i}`);
    const model = await cairn.read("modelIdOf", owner, genesis);
    if (ethers.getBytes(model).every((byte) => byte !== 0)) return { genesis, model };
  }
}

/** The least a transaction with this calldata costs (EIP-7623): 10 gas a zero byte, 40 any other. */
export function floor(data) {
  return ethers.getBytes(data).reduce((sum, byte) => sum + (byte === 0 ? 10n : 40n), 21_000n);
}

export function artifact(file) {
  return JSON.parse(readFileSync(path.join(ROOT, file), "utf8"));
}

export function compiled(source, name) {
  const input = { language: "Solidity", settings: { ...SETTINGS, outputSelection: { "*": { "*": OUTPUT } } } };
  const { abi, evm } = compile({ ...input, sources: gather([source]) }).contracts[source][name];
  return { abi, bytecode: `0x${evm.bytecode.object}` };
}

/** Sets a plan with zeros for whatever is not given. */
export function setPlan(cairn, owner, model, plan, rules) {
  const { components } = cairn.face.getFunction("setPlan").inputs[1];
  const zeros = components.map(({ name, type }) => [name, type.endsWith("[]") ? [] : 0]);
  return cairn.send(owner, "setPlan", model, { ...Object.fromEntries(zeros), ...plan }, rules);
}

export async function startChain() {
  const { provider } = await hre.network.create({ override: { initialBaseFeePerGas: 0, blockGasLimit: 60_000_000 } });
  const call = (method, ...params) => provider.request({ method, params });

  async function send(tx) {
    await call("hardhat_impersonateAccount", tx.from);
    if (tx.value !== undefined) await call("hardhat_setBalance", tx.from, ethers.toQuantity(2n ** 90n));
    const hash = await call("eth_sendTransaction", { gas: "0x1000000", gasPrice: "0x0", ...tx });
    const receipt = await call("eth_getTransactionReceipt", hash);
    if (BigInt(receipt.gasUsed) < floor(tx.data)) throw new Error(`below EIP-7623's floor: ${receipt.gasUsed}`);
    return receipt;
  }

  async function deploy({ abi, bytecode }, ...args) {
    const face = new ethers.Interface(abi);
    const data = ethers.concat([bytecode, coder.encode(face.deploy.inputs, args)]);
    const receipt = await send({ from: account("deployer"), data });
    return { gas: Number(receipt.gasUsed), ...at(receipt.contractAddress, abi) };
  }

  function at(to, abi) {
    const face = new ethers.Interface(abi);
    return {
      address: to,
      face,
      send: async (from, name, ...values) => {
        const { gasUsed } = await send({ from, to, data: face.encodeFunctionData(name, values) });
        return Number(gasUsed);
      },
      pay: async (from, value, name, ...values) => {
        const data = face.encodeFunctionData(name, values);
        const { gasUsed } = await send({ from, to, data, value: ethers.toQuantity(value) });
        return Number(gasUsed);
      },
      read: async (name, ...values) => {
        const answer = await call("eth_call", { to, data: face.encodeFunctionData(name, values) });
        return face.decodeFunctionResult(name, answer)[0];
      },
    };
  }
  /** A factory, what it makes, and what making each costs. */
  async function deployAll() {
    const made = Object.fromEntries(DEPLOYED.map((name) => [name, artifact(`registry/chain/artifacts/${name}.json`)]));
    const hashes = DEPLOYED.map((name) => ethers.keccak256(made[name].bytecode));
    const factory = await deploy(artifact("registry/chain/artifacts/Factory.json"), hashes);
    const contracts = {};
    // Cairn has the first place and comes last.
    for (const [place, name] of [...DEPLOYED.entries()].reverse()) {
      const gas = await factory.send(account("deployer"), "deploy", place, made[name].bytecode);
      contracts[name] = { gas, ...at(await factory.read("addressOf", place), made[name].abi) };
    }
    return { Factory: factory, ...contracts };
  }

  return { deploy, deployAll, wait: (seconds) => call("evm_increaseTime", seconds) };
}
