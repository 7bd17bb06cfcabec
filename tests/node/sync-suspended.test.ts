/** P5: one of a machine's clocks stands still while it is suspended (docs/protocol.md, C1). */
import { expect, test } from "vitest";
import { createTable, insert, join, lead, namesIn, newStore, QUIET, UNREACHABLE } from "../support/cluster.ts";
import { settle } from "../support/wait.ts";

test("sync to a staleness does not count the time of a suspension as nothing: it asks again", async () => {
  const store = await newStore();
  const leader = await lead(store, { settings: QUIET, join: UNREACHABLE });
  await createTable(leader.node);
  // Asks the store for nothing by itself.
  const follower = await join("follower", store, { settings: { ...QUIET, pollIntervalMs: 60_000 } });
  await follower.node.sync({ atLeast: leader.node.epoch.current });
  await follower.node.sync({ maxStalenessMs: 0 });
  await settle();
  await insert(leader.node, "while it was suspended");
  follower.clock.setWall(60_000);
  await follower.node.sync({ maxStalenessMs: 30_000 });
  expect(namesIn(follower.node)).toEqual(["while it was suspended"]);
});
