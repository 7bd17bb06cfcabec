import { describe, expect, it } from "vitest";
import type { LogEvent } from "../../src/base/log.ts";
import { walKey } from "../../src/format/keys.ts";
import { MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { Orphans } from "../../src/node/orphan.ts";
import type { NodeParts } from "../../src/node/parts.ts";
import { systemClock, systemRandom } from "../../src/platform/system.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { within } from "../support/wait.ts";

function orphansOf(store: ObjectStore, retryMs: number): { orphans: Orphans; events: LogEvent[] } {
  const events: LogEvent[] = [];
  const settings = { clock: systemClock, random: systemRandom, retryBaseMs: retryMs, retryMaxMs: retryMs };
  const parts = { store, settings, log: (event: LogEvent) => events.push(event) };
  return { orphans: new Orphans(parts as unknown as NodeParts), events };
}

describe("an orphan", () => {
  it("is deleted, though the store fails at first; whoever leaves waits for it", async () => {
    const memory = new MemoryStore();
    await memory.put(walKey(7), new Uint8Array(1));
    const store = new FaultyStore(memory, {
      onCall: ({ number }) => (number < 3 ? { kind: "fail_before" } : undefined),
    });
    const { orphans, events } = orphansOf(store, 1);
    orphans.delete(7);
    await within("the deletion", orphans.settled());
    expect(await memory.head(walKey(7))).toBeUndefined();
    expect(events.map(({ event }) => event)).toEqual(["orphan_not_deleted", "orphan_not_deleted", "orphan_deleted"]);
  });

  it("is left to the next leader's retention by a node that must leave now: nothing goes on after that", async () => {
    const store = new FaultyStore(new MemoryStore(), { onCall: () => ({ kind: "fail_before" }) });
    const { orphans, events } = orphansOf(store, 60_000);
    orphans.delete(7);
    orphans.delete(8);
    await new Promise((resolve) => systemClock.soon(() => resolve(undefined)));
    orphans.close();
    await within("the end of both", orphans.settled());
    expect(events.map(({ event }) => event)).toEqual(["orphan_not_deleted", "orphan_not_deleted"]);
  });
});
