/** Everything goes wrong at random: addresses refuse or fall silent, requests fail, bits flip, leaders step down. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { isClusterError } from "../../src/mod.ts";
import { type FaultRates, randomFaults } from "../../src/testing/mod.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import {
  createTable,
  FAST,
  insert,
  isWalPut,
  join,
  lead,
  namesIn,
  newStore,
  QUIET,
  type Subject,
} from "../support/cluster.ts";
import { freePort, TcpProxy } from "../support/tcp-proxy.ts";
import { until, within } from "../support/wait.ts";

const CHAOS_MS = 3000;
const FAULTS: FaultRates = { failBefore: 0.2, failAfter: 0.2, delay: 0.3, landLater: 0.1, flip: 0.05, delayMsMax: 300 };
const settings = { ...FAST, heartbeatIntervalMs: 200, sessionTimeoutMs: 800 };

interface Victim extends Subject {
  readonly proxy: TcpProxy;
}

async function startVictim(kind: "leader" | "follower", store: Awaited<ReturnType<typeof newStore>>): Promise<Victim> {
  const address = `127.0.0.1:${await freePort()}`;
  const proxy = await TcpProxy.start(address);
  return { ...(await join(kind, store, { settings, join: { address, advertise: proxy.address } })), proxy };
}

const leads = ({ node }: Victim) => node.role.current === "leader";

/** Writes to whoever leads, several at a time, until told to stop, and keeps what became of each write. */
class Writers {
  readonly acknowledged: string[] = [];
  /** Said to be not written. */
  readonly refused: string[] = [];
  readonly problems: unknown[] = [];
  #isOver = false;
  #count = 0;
  readonly #done: Promise<unknown>;

  constructor(victims: readonly Victim[], parallel: number) {
    this.#done = Promise.all(Array.from({ length: parallel }, () => this.#run(victims)));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await within("the writers", this.#done);
  }

  async #run(victims: readonly Victim[]): Promise<void> {
    while (!this.#isOver) {
      for (const { node } of victims.filter(leads)) await this.#write(node);
      await sleep(1);
    }
  }

  async #write(node: Victim["node"]): Promise<void> {
    const name = `w${this.#count++}`;
    try {
      await node.transaction((tx) => tx.run("INSERT INTO log(name) VALUES (?)", [name])).durable;
      this.acknowledged.push(name);
    } catch (error) {
      if (!isClusterError(error)) this.problems.push(error);
      else if (error.kind === "fenced") this.refused.push(name);
    }
  }
}

describe("in chaos", () => {
  for (const seed of [1, 2, 3]) {
    it(`what was acknowledged stays, what was refused never comes, and all recover (seed ${seed})`, async () => {
      const random = new SeededRandom(seed);
      const store = await newStore();
      const victims: Victim[] = [];
      for (const kind of ["leader", "leader", "leader", "follower"] as const) {
        victims.push(await startVictim(kind, store));
      }
      const first = await until("a leader", () => victims.find(leads));
      await first.node.transaction((tx) => tx.exec("CREATE TABLE log (name TEXT)")).durable;
      const writers = new Writers(victims, 4);
      const refusing = new Set<Victim>();
      const mischief: ((victim: Victim) => unknown)[] = [
        (victim) => !refusing.has(victim) && refusing.add(victim) && victim.proxy.refuse(),
        (victim) => !refusing.has(victim) && victim.proxy.cut(),
        (victim) => [refusing.delete(victim), victim.proxy.heal()][1],
        (victim) => [refusing.delete(victim), victim.proxy.heal()][1],
        () =>
          void victims
            .find(leads)
            ?.node.stepDown({ timeoutMs: 3000 })
            .catch(() => {}),
        ({ faults }) => {
          faults.onCall = randomFaults(random, FAULTS);
        },
        ({ faults }) => {
          faults.onCall = () => ({ kind: "fail_before" });
        },
      ];
      for (const endMs = performance.now() + CHAOS_MS; performance.now() < endMs; ) {
        await random.pick(mischief)(random.pick(victims));
        await sleep(random.between(0, 250));
        if (random.chance(0.5)) random.pick(victims).faults.onCall = () => undefined;
      }
      for (const { faults, proxy } of victims) {
        faults.onCall = () => undefined;
        await proxy.heal();
      }
      await until("a leader", () => victims.some(leads));
      await writers.stop();
      await until("streams", () => victims.filter(({ node }) => node.status().replica.is_streaming).length === 3);
      await until("members", () => victims.every(({ node }) => node.members.current.length === victims.length));
      expect(writers.problems).toEqual([]);
      for (const { node, events } of victims) {
        await node.sync("linearizable");
        const names = node.db.query<{ name: string }>("SELECT name FROM log").map(({ name }) => name);
        const set = new Set(names);
        expect(names.length, "none is doubled").toBe(set.size);
        expect(
          writers.acknowledged.filter((name) => !set.has(name)),
          "none is lost",
        ).toEqual([]);
        expect(
          writers.refused.filter((name) => set.has(name)),
          "none was denied falsely",
        ).toEqual([]);
        expect(events.filter(({ event }) => event === "node_failed" || event === "leadership_crashed")).toEqual([]);
      }
    });
  }
});

describe("P6: an epoch whose answer was lost", () => {
  for (const fault of [
    { kind: "flip", offset: 5000 },
    { kind: "truncate", length: 100 },
    { kind: "truncate", length: 0 },
  ] as const) {
    it(`and that is damaged when it is read back (${JSON.stringify(fault)}) does not pass for another's`, async () => {
      const leader = await lead(await newStore(), { settings: QUIET });
      await createTable(leader.node);
      let reads = 0;
      leader.faults.onCall = (call) => {
        if (isWalPut(call)) return { kind: "fail_after" };
        return call.operation === "get" && reads++ < 3 ? fault : undefined;
      };
      await within("the ack", insert(leader.node, "mine"));
      expect(reads).toBeGreaterThan(3);
      expect(namesIn(leader.node)).toEqual(["mine"]);
      expect(leader.node.role.current).toBe("leader");
    });
  }
});
