/** P1: an audit while history goes on (docs/architecture.md §4). */
import { expect, test } from "vitest";
import { ClusterError } from "../../src/errors.ts";
import { walKey } from "../../src/format/keys.ts";
import { UNREADABLE_MAX } from "../../src/protocol/commit.ts";
import { failureOf } from "../store/failure.ts";
import {
  AWAY_MS,
  createTable,
  insert,
  join,
  LONG_MS,
  lead,
  namesIn,
  newStore,
  passSilence,
  putSnapshot,
  QUIET,
  trimBelow,
} from "../support/cluster.ts";
import { settle, until, within } from "../support/wait.ts";

const quiet = { settings: QUIET };

/** Both at the epoch `before`. */
async function leaderAndStandby() {
  const store = await newStore();
  const leader = await lead(store, quiet);
  const before = await createTable(leader.node);
  const standby = await join("leader", store, quiet);
  await standby.node.sync({ atLeast: before });
  return { store, leader, standby, before };
}

/** The leader has sealed an epoch that never left it; the standby leads. */
async function pausedAndReplaced() {
  const { store, leader, standby, before } = await leaderAndStandby();
  leader.faults.onCall = () => ({ kind: "fail_before" });
  const ack = failureOf(insert(leader.node, "lost"));
  await settle();
  passSilence(standby);
  await standby.node.waitForLeadership({ timeoutMs: 10_000 });
  return { store, leader, standby, before, ack };
}

test("an audit whose next epoch is trimmed between its listing and its reading acknowledges nothing", async () => {
  const { store, leader, standby, before, ack } = await pausedAndReplaced();
  for (let count = 0; count < 4; count++) await insert(standby.node, `theirs ${count}`);
  const head = standby.node.epoch.current;
  await putSnapshot(store, head);
  // The paused leader's number is free again; the one after it goes while the audit looks at it.
  await store.delete(walKey(before + 1));
  let isTrimmed = false;
  leader.faults.onCall = ({ operation, key }) => {
    if (operation !== "get" || key !== walKey(before + 2) || isTrimmed) return undefined;
    void store.delete(walKey(before + 2)).then(() => {
      isTrimmed = true;
    });
    return { kind: "delay", delayMs: 50 };
  };
  leader.clock.pass(AWAY_MS);

  expect(await within("the ack", ack)).toMatchObject({ kind: "outcome_unknown" });
  expect(isTrimmed, "the audit read what was listed").toBe(true);
  await trimBelow(store, head);
  await until("the step back", () => leader.node.role.current === "standby");
  await leader.node.sync({ atLeast: head });
  expect(namesIn(leader.node)).toEqual(namesIn(standby.node));
});

test("an audit whose only later epoch is trimmed between its listing and its reading asks again, and acknowledges nothing", async () => {
  const { store, leader, standby, before, ack } = await pausedAndReplaced();
  await insert(standby.node, "theirs");
  const head = standby.node.epoch.current;
  expect(head).toBe(before + 2);
  await putSnapshot(store, head);
  // The paused leader's number is free again.
  await store.delete(walKey(before + 1));
  let isTrimmed = false;
  const { get } = leader.faults;
  leader.faults.get = async (key, options) => {
    if (key === walKey(head) && !isTrimmed) {
      isTrimmed = true;
      // History goes on, so that this one is not the newest any more.
      await insert(standby.node, "more");
      await store.delete(key);
    }
    return await get.call(leader.faults, key, options);
  };
  leader.faults.onCall = () => undefined;
  leader.clock.pass(AWAY_MS);

  expect(await within("the ack", ack)).toMatchObject({ kind: "outcome_unknown" });
  expect(isTrimmed, "the audit read what was listed").toBe(true);
  await until("the step back", () => leader.node.role.current === "standby");
});

test("P6: a listing that lacks the next epoch, as it was created while it was made, is no reason to delete what is built upon", async () => {
  const { store, leader, standby, before } = await leaderAndStandby();

  let isCut = true;
  let audits = 0;
  // The epoch lands; its leader does not hear of it, and pauses.
  leader.faults.onCall = ({ operation }) => {
    if (operation === "list") audits++;
    return isCut ? { kind: "fail_after" } : undefined;
  };
  const { list } = leader.faults;
  leader.faults.list = async (prefix, options) => {
    const page = await list.call(leader.faults, prefix, options);
    return { ...page, objects: page.objects.filter(({ key }) => key !== walKey(before + 2)) };
  };
  const ack = insert(leader.node, "ours");
  await until("the landing", async () => (await store.head(walKey(before + 1))) !== undefined);
  await standby.node.sync({ atLeast: before + 1 });
  passSilence(standby);
  await standby.node.waitForLeadership({ timeoutMs: 10_000 });
  await insert(standby.node, "theirs");
  leader.clock.pass(LONG_MS);
  isCut = false;

  expect((await within("the ack", ack)).epoch).toBe(before + 1);
  expect(audits).toBeGreaterThan(0);
  await until("the step back", () => leader.node.role.current === "standby");
  expect(await store.head(walKey(before + 1))).toBeDefined();
});

test("P3: a leader whose number holds what nobody can read gives up, and follows", async () => {
  const { store, leader, standby, before, ack } = await pausedAndReplaced();
  await insert(standby.node, "theirs");
  const head = standby.node.epoch.current;
  await putSnapshot(store, head);
  await insert(standby.node, "proof");
  await store.put(walKey(before + 1), new TextEncoder().encode("what nobody wrote"));
  leader.faults.onCall = () => undefined;

  expect(await within("the ack", ack)).toMatchObject({ kind: "outcome_unknown" });
  await until("the step back", () => leader.node.role.current === "standby");
  await leader.node.sync({ atLeast: head });
  expect(namesIn(leader.node)).toEqual(["proof", "theirs"]);
});

test("a store that refuses a leader's questions for a while is no reason to give up", async () => {
  const { leader, before } = await leaderAndStandby();
  let puts = 0;
  let questions = 0;
  const error = new ClusterError("invalid", "store_forbidden", "the credentials have expired");
  leader.faults.onCall = ({ operation }) => {
    // Its answer is lost; then reading back is forbidden, more often than what cannot be read is read again.
    if (operation === "put" && puts++ === 0) return { kind: "fail_after" };
    return operation === "get" && questions++ < UNREADABLE_MAX + 2 ? { kind: "fail_before", error } : undefined;
  };
  expect((await within("the ack", insert(leader.node, "ours"))).epoch).toBe(before + 1);
  expect(questions).toBeGreaterThan(UNREADABLE_MAX);
  expect(leader.node.role.current).toBe("leader");
});
