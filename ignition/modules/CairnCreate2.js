// Deploys Cairn where `cairn contracts deploy` does: at the same addresses on every chain with the CREATE2 deployer.
import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import { CREATE2_DEPLOYER, deployAll, factoryByCreate2 } from "../deployment.js";

const { data, address } = await factoryByCreate2();

export default buildModule("CairnCreate2", (m) => {
  const made = m.send("Factory", CREATE2_DEPLOYER, 0n, data);
  return deployAll(m, m.contractAt("Factory", address, { id: "FactoryAt", after: [made] }));
});
