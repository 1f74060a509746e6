// What a factory makes: the contracts that `npx hardhat build` has built, Cairn last.
import { AbiCoder, concat, getCreate2Address, keccak256, ZeroHash } from "ethers";
import hre from "hardhat";
import { DEPLOYED } from "../contracts/tools/compiler.js";

/** The deterministic deployment proxy that most chains carry: its calldata is a salt and a creation code. */
export const CREATE2_DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C";

const bytecode = async (name) => (await hre.artifacts.readArtifact(`contracts/${name}.sol:${name}`)).bytecode;
const codes = await Promise.all(DEPLOYED.map(bytecode));

/** keccak256 of each creation code, in the order of `ContractIndex`: the factory's only argument. */
export const codeHashes = codes.map((code) => keccak256(code));

/** Calldata for the CREATE2 deployer, and the address where it puts the factory. */
export async function factoryByCreate2() {
  const code = concat([await bytecode("Factory"), AbiCoder.defaultAbiCoder().encode(["bytes32[]"], [codeHashes])]);
  return { data: concat([ZeroHash, code]), address: getCreate2Address(CREATE2_DEPLOYER, ZeroHash, keccak256(code)) };
}

/** Has the factory make Cairn's partners, then Cairn; returns each at the address that the factory tells. */
export function deployAll(m, factory) {
  const make = (place, after) => {
    return m.call(factory, "deploy", [place, codes[place]], { id: `Deploy${DEPLOYED[place]}`, after });
  };
  const partners = DEPLOYED.slice(1).map((_, i) => make(i + 1, []));
  const cairn = make(0, partners);
  const at = (name, place) => {
    const address = m.staticCall(factory, "addressOf", [place], 0, { id: `AddressOf${name}`, after: [cairn] });
    return [name.toLowerCase(), m.contractAt(name, address)];
  };
  return { factory, ...Object.fromEntries(DEPLOYED.map(at)) };
}
