/** P5: one of a machine's clocks stands still while it is suspended (docs/protocol.md, C1). */
import { expect, test } from "vitest";
import {
  AWAY_MS,
  createTable,
  insert,
  join,
  lead,
  namesIn,
  newStore,
  putSnapshot,
  QUIET,
  trimBelow,
  UNREACHABLE,
} from "../support/cluster.ts";
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

test("a question that was under way during a suspension proves nothing: what is missing may have been trimmed", async () => {
  const store = await newStore();
  const leader = await lead(store, { settings: QUIET, join: UNREACHABLE });
  await createTable(leader.node);
  const follower = await join("follower", store, { settings: { ...QUIET, pollIntervalMs: 60_000 } });
  await follower.node.sync({ atLeast: leader.node.epoch.current });
  await settle();
  for (const name of ["a", "b", "c"]) await insert(leader.node, name);
  const { head } = follower.faults;
  // It arrives when everything that came next is gone.
  follower.faults.head = async (key, options) => {
    follower.faults.head = head;
    await putSnapshot(store, leader.node.epoch.current);
    await insert(leader.node, "proof");
    await trimBelow(store, leader.node.epoch.current - 1);
    follower.clock.setWall(AWAY_MS);
    return await head.call(follower.faults, key, options);
  };
  await follower.node.sync({ maxStalenessMs: 0 });
  expect(namesIn(follower.node)).toEqual(["a", "b", "c", "proof"]);
});
