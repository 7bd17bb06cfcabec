/** sync to a staleness where the node cannot know how stale it is: after a suspension (P5; docs/protocol.md, C1), and behind the history. */
import { expect, onTestFinished, test, vi } from "vitest";
import { PushBuffer } from "../../src/node/push-buffer.ts";
import { codeOf } from "../store/failure.ts";
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
import { settle, until } from "../support/wait.ts";

/** A leader whose stream nobody can open, and a follower at its epoch that asks the store for nothing by itself. */
async function unconnected() {
  const store = await newStore();
  const leader = await lead(store, { settings: QUIET, join: UNREACHABLE });
  await createTable(leader.node);
  const follower = await join("follower", store, { settings: { ...QUIET, pollIntervalMs: 60_000 } });
  await follower.node.sync({ atLeast: leader.node.epoch.current });
  return { store, leader, follower };
}

test("sync to a staleness does not count the time of a suspension as nothing: it asks again", async () => {
  const { leader, follower } = await unconnected();
  await follower.node.sync({ maxStalenessMs: 0 });
  await settle();
  await insert(leader.node, "while it was suspended");
  follower.clock.setWall(60_000);
  await follower.node.sync({ maxStalenessMs: 30_000 });
  expect(namesIn(follower.node)).toEqual(["while it was suspended"]);
});

test("a question that was under way during a suspension proves nothing: what is missing may have been trimmed", async () => {
  const { store, leader, follower } = await unconnected();
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

test("who is told of an epoch that is missing in the store lags: it is not the end of the history", async () => {
  const store = await newStore();
  const leader = await lead(store, { settings: QUIET });
  await createTable(leader.node);
  const follower = await join("follower", store, { settings: QUIET });
  await until("the stream", () => follower.node.status().replica.is_streaming);
  const epoch = leader.node.epoch.current;
  await follower.node.sync({ atLeast: epoch });
  // What is pushed does not arrive, and in the store it is trimmed.
  const pushes = vi.spyOn(PushBuffer.prototype, "put").mockImplementation(() => {});
  onTestFinished(() => pushes.mockRestore());
  let questions = 0;
  follower.faults.get = async () => {
    questions++;
    return undefined;
  };
  await insert(leader.node, "unseen");
  await until("a question", () => questions > 0);
  follower.clock.pass(10_000);
  const asked = questions;
  await until("another question", () => questions > asked + 1);
  const code = await codeOf(follower.node.sync({ maxStalenessMs: 5000 }, { timeoutMs: 300 }));
  expect(code).toBe("unavailable/wait_timeout");
});
