import { expect, test } from "vitest";
import { snapshotKey } from "../../src/format/keys.ts";
import { createTable, insert, join, lead, newStore, QUIET } from "../support/cluster.ts";
import { settle, until } from "../support/wait.ts";

const often = { settings: { ...QUIET, snapshot: { epochsMax: 3, intervalMinMs: 0 } } };

test("who led and stepped down takes no more snapshots", async () => {
  const store = await newStore();
  const first = await lead(store, often);
  await createTable(first.node);
  const { epoch } = await insert(first.node, "a");
  await until("a snapshot while it leads", () => store.head(snapshotKey(epoch)));
  await insert(first.node, "b");

  // Takes none itself, so that nothing hides what the other one does.
  const second = await join("leader", store, { settings: QUIET });
  await first.node.stepDown();
  await second.node.waitForLeadership({ timeoutMs: 10_000 });
  const puts: string[] = [];
  first.faults.onCall = ({ operation, key }) => {
    if (operation === "put") puts.push(key);
    return undefined;
  };
  for (let count = 0; count < 8; count++) await insert(second.node, `${count}`);
  await first.node.sync({ atLeast: second.node.epoch.current });
  await settle();
  expect(puts).toEqual([]);
});
