/** What the leader's packs hold on to, and what becomes of them when it stops leading. */
import { describe, expect, it, onTestFinished } from "vitest";
import { packKey, parseKey, walKey } from "../../src/format/keys.ts";
import { Packer } from "../../src/history/packer.ts";
import { MemoryStore } from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { Led } from "../support/cluster-database.ts";
import { historyParts } from "../support/sqlite-file.ts";
import { until, within } from "../support/wait.ts";

interface World {
  readonly led: Led;
  readonly packer: Packer;
  readonly store: FaultyStore;
  /** Keys of packs that are being written. */
  readonly writing: readonly string[];
  /** Lets packs be written, or keeps them from it. */
  hold(isHeld: boolean): void;
}

async function world(): Promise<World> {
  const led = await Led.create("CREATE TABLE t (a)");
  onTestFinished(() => led.close());
  const writing: string[] = [];
  let isHeld = false;
  const store = new FaultyStore(new MemoryStore(), {
    onCall: ({ operation, key }) => {
      if (operation !== "put" || !key.endsWith(".pack")) return undefined;
      writing.push(key);
      return isHeld ? { kind: "delay", delayMs: 3_600_000 } : undefined;
    },
  });
  const packer = new Packer(historyParts(store), led.replica, () => 0);
  onTestFinished(() => packer.follow());
  await store.put(walKey(0), led.wals[0] as Uint8Array);
  return {
    led,
    packer,
    store,
    writing,
    hold: (value) => {
      isHeld = value;
    },
  };
}

/** Epochs up to this one, durable. */
async function write({ led, packer, store }: World, epoch: number): Promise<void> {
  while (led.replica.epoch < epoch) {
    led.writer.transact((tx) => tx.run("INSERT INTO t VALUES (?)", [led.replica.epoch]));
    await store.put(walKey(led.replica.epoch + 1), led.commit());
    packer.applied(led.replica.epoch);
  }
}

async function packs({ store }: World): Promise<string[]> {
  const { objects } = await store.list(".lbc/");
  return objects.flatMap(({ key }) => (parseKey(key)?.kind === "pack" ? [key] : []));
}

describe("a packer", () => {
  it("writes nothing while its node does not lead", async () => {
    const subject = await world();
    await write(subject, 70);
    expect(subject.writing).toEqual([]);
    expect(subject.led.image.pinCount).toBe(0);
  });

  it("lets go of everything at once when its node stops leading, in the middle of a pack too", async () => {
    const subject = await world();
    subject.packer.lead();
    subject.hold(true);
    await write(subject, 200);
    expect(subject.writing).toEqual([packKey(0, 64)]);
    expect(subject.led.image.pinCount).toBe(3);
    await within("the end", subject.packer.follow());
    expect(subject.led.image.pinCount).toBe(0);
    expect(await packs(subject)).toEqual([]);

    // And goes on where it stopped when the node leads again.
    subject.hold(false);
    subject.packer.lead();
    await write(subject, 256);
    await until("the packs", async () => (await packs(subject)).length === 4);
    expect(subject.led.image.pinCount).toBe(0);
  });

  it("leads again before the last pack of its former time is given up", async () => {
    const subject = await world();
    subject.packer.lead();
    subject.hold(true);
    await write(subject, 64);
    const ended = subject.packer.follow();
    subject.packer.lead();
    subject.hold(false);
    await write(subject, 128);
    await ended;
    await until("the packs", async () => (await packs(subject)).length === 2);
    expect(subject.led.image.pinCount).toBe(0);
  });

  it("P10: holds few pins however slow the store is, and makes up for the rest", async () => {
    const subject = await world();
    subject.packer.lead();
    subject.hold(true);
    await write(subject, 64 * 15);
    expect(subject.led.image.pinCount).toBe(9);
    subject.hold(false);
    await subject.packer.follow();
    subject.packer.lead();
    await write(subject, 64 * 16);
    await until("the packs", async () => (await packs(subject)).length >= 2);
    // The longest is enough for whoever joins.
    expect(await packs(subject)).toContain(packKey(0, 1024));
  });
});
