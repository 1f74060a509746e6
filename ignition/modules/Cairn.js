// Deploys Cairn through a factory of the sender's own, on any chain.
import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import { codeHashes, deployAll } from "../deployment.js";

export default buildModule("Cairn", (m) => deployAll(m, m.contract("Factory", [codeHashes])));
