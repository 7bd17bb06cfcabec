/** P2: what a request brings long after anything was known (docs/protocol.md, I5). */
import { describe, expect, it } from "vitest";
import { walKey } from "../../src/format/keys.ts";
import { TRIM_AGE_MIN_MS } from "../../src/protocol/moment.ts";
import { createTable, insert, join, lead, namesIn, newStore, QUIET, UNREACHABLE } from "../support/cluster.ts";
import { until } from "../support/wait.ts";

const quiet = { settings: QUIET };
const DELAY_MS = 100;

/** A follower whose request for the next epoch is under way while that epoch is written and `passedMs` pass. */
async function answeredAfter(passedMs: number) {
  const store = await newStore();
  const { node } = await lead(store, { ...quiet, join: UNREACHABLE });
  await createTable(node);
  const follower = await join("follower", store, quiet);
  await follower.node.sync({ atLeast: node.epoch.current });
  const next = walKey(node.epoch.current + 1);
  let isUnderWay = false;
  follower.faults.onCall = ({ operation, key }) => {
    if (operation !== "get" || key !== next || isUnderWay) return undefined;
    isUnderWay = true;
    return { kind: "delay", delayMs: DELAY_MS };
  };
  await until("the request is under way", () => isUnderWay);
  const { epoch } = await insert(node, "late");
  follower.clock.pass(passedMs);
  await follower.node.sync({ atLeast: epoch });
  expect(namesIn(follower.node)).toEqual(["late"]);
  return follower.events.map(({ event }) => event);
}

describe("an answer that comes", () => {
  it("more than half an hour after anything was known is not applied: everything is read anew", async () => {
    expect(await answeredAfter(TRIM_AGE_MIN_MS + 60_000)).toContain("bootstrapping_again");
  });

  it("sooner is applied", async () => {
    expect(await answeredAfter(TRIM_AGE_MIN_MS - 60_000)).not.toContain("bootstrapping_again");
  });
});
