/** P1: an audit that history runs away from (docs/architecture.md §4). */
import { expect, test } from "vitest";
import { walKey } from "../../src/format/keys.ts";
import { failureOf } from "../store/failure.ts";
import {
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

test("an audit whose next epoch is trimmed between its listing and its reading asks again, and acknowledges nothing", async () => {
  const store = await newStore();
  const leader = await lead(store, quiet);
  const before = await createTable(leader.node);
  const standby = await join("leader", store, quiet);
  await standby.node.sync({ atLeast: before });

  leader.faults.onCall = () => ({ kind: "fail_before" });
  const ack = failureOf(insert(leader.node, "lost"));
  await settle();
  passSilence(standby);
  await standby.node.waitForLeadership({ timeoutMs: 10_000 });
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
  leader.clock.pass(LONG_MS);

  expect(await within("the ack", ack)).toMatchObject({ kind: "fenced" });
  expect(isTrimmed, "the audit read what was listed").toBe(true);
  await trimBelow(store, head);
  await until("the step back", () => leader.node.role.current === "standby");
  await leader.node.sync({ atLeast: head });
  expect(namesIn(leader.node)).toEqual(namesIn(standby.node));
});
