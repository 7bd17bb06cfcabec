/** Giving the leadership up, gracefully: who leads next, and what becomes of the writes under way. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { Cancel } from "../../src/base/clock.ts";
import type { Random } from "../../src/base/random.ts";
import { type ClusterNode, isClusterError } from "../../src/mod.ts";
import { Publisher } from "../../src/node/publisher.ts";
import { systemRandom } from "../../src/platform/system.ts";
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
import { TestClock } from "../support/test-clock.ts";
import { settle, until, within } from "../support/wait.ts";
import { FakeLeader, secretOf } from "../support/wire.ts";

const quiet = { settings: { ...QUIET, gossipIntervalMs: 60_000 } };
/** Waits as long as it may where it waits at random. */
const slowest: Random = { bytes: (count) => systemRandom.bytes(count), fraction: () => 0.999 };

const isStreaming = ({ node }: Subject) => node.status().replica.is_streaming;
const claims = ({ events }: Subject) => events.filter(({ event }) => event === "claiming");
const reasons = (subject: Subject) => claims(subject).map(({ reason }) => reason);

/** From some moment on no timer fires. */
class StoppedClock extends TestClock {
  isStopped = false;

  override after(delayMs: number, fn: () => void): Cancel {
    return this.isStopped ? () => {} : super.after(delayMs, fn);
  }
}

/** A leader that has written something, a follower, and standbys with its stream. */
async function leaderWith(standbys: readonly object[]) {
  const store = await newStore();
  const leader = await lead(store, quiet);
  await createTable(leader.node);
  const follower = await join("follower", store, quiet);
  await until("the stream of the follower", () => isStreaming(follower));
  const others: Subject[] = [];
  for (const options of standbys) others.push(await join("leader", store, { ...quiet, ...options }));
  await until("the streams", () => others.every(isStreaming));
  await until("the members", () => leader.node.members.current.length === others.length + 2);
  return { store, leader, follower, others };
}

describe("a step-down", () => {
  it("offers the leadership once: who accepts when the last epoch is on its way knows nothing of what follows it", async () => {
    const { leader } = await leaderWith([{}]);
    // Nobody hears of it.
    const offers = vi.spyOn(Publisher.prototype, "handOver").mockImplementation(() => {});
    onTestFinished(() => offers.mockRestore());
    let isSealed = false;
    leader.faults.onCall = (call) => {
      if (!isWalPut(call)) return undefined;
      isSealed = true;
      return { kind: "delay", delayMs: 300 };
    };
    const first = leader.node.stepDown();
    await until("the last epoch is on its way", () => isSealed);
    await Promise.all([first, leader.node.stepDown()]);
    expect(offers.mock.calls.map(([, what]) => what)).toEqual(["offer"]);
  });

  it("names a standby, not a follower, which claims without a wait: no timer of its own has to fire", async () => {
    const clock = new StoppedClock();
    const settings = { ...quiet.settings, random: slowest };
    const { leader, others } = await leaderWith([{ clock, settings }]);
    const [standby] = others as [Subject];
    await insert(leader.node, "before");
    await until("the standby is up to date", () => standby.node.epoch.current === leader.node.epoch.current);
    clock.isStopped = true;
    const ack = insert(leader.node, "pending");
    await leader.node.stepDown();
    await ack;
    await until("the standby leads", () => standby.node.role.current === "leader");
    expect(reasons(standby)).toEqual(["vacant"]);
    expect(namesIn(standby.node)).toEqual(["before", "pending"]);
    clock.isStopped = false;
  });

  it("to one of two standbys: the one in its own zone, as far as it; the other follows it", async () => {
    const settings = { ...quiet.settings, random: slowest };
    const { leader, others } = await leaderWith([
      { settings, join: { az: "AZ9" } },
      { settings, join: { az: "AZ0" } },
    ]);
    const [far, near] = others as [Subject, Subject];
    const { epoch } = await insert(leader.node, "a");
    await until("both are up to date", () => others.every(({ node }) => node.epoch.current === epoch));
    await leader.node.stepDown();
    await until("one leads", () => others.some(({ node }) => node.role.current === "leader"));
    await until("all agree", () => {
      const led = [leader, far, near].map(({ node }) => node.leader.current?.uuid);
      return led[0] !== undefined && new Set(led).size === 1;
    });
    expect([leader, far, near].map(({ node }) => node.role.current)).toEqual(["standby", "standby", "leader"]);
    await insert(near.node, "b");
    await until("all see it", () => [leader, far].every(({ node }) => namesIn(node).length === 2));
  });

  it("with no standby brings the node itself back after its pause; a follower is never asked to lead", async () => {
    const store = await newStore();
    const leader = await lead(store, quiet);
    const follower = await join("follower", store, quiet);
    await until("the stream", () => isStreaming(follower));
    const stepping = leader.clock.monotonicMs();
    await leader.node.stepDown();
    expect(leader.node.leader.current).toBeUndefined();
    await leader.node.waitForLeadership({ timeoutMs: 15_000 });
    expect(leader.clock.monotonicMs() - stepping, "others had time to lead first").toBeGreaterThan(2000);
    expect(reasons(leader).at(-1)).toBe("vacant");
    expect(claims(follower)).toEqual([]);
    expect(follower.node.role.current).toBe("follower");
    const epoch = await createTable(leader.node);
    await follower.node.sync({ atLeast: epoch });
  });

  it("that cannot be written changes nothing: the one that was named waits", async () => {
    const { leader, others } = await leaderWith([{}]);
    const [standby] = others as [Subject];
    let attempts = 0;
    leader.faults.onCall = (call) => (isWalPut(call) && attempts++ >= 0 ? { kind: "fail_before" } : undefined);
    const stepping = leader.node.stepDown();
    await until("attempts to write it", () => attempts >= 3);
    await settle(100);
    expect(claims(standby)).toEqual([]);
    leader.faults.onCall = () => undefined;
    await within("the step-down", stepping);
    await until("the standby leads", () => standby.node.role.current === "leader");
  });

  it("cannot be told by who does not hold the secret, and alone makes nobody claim", async () => {
    const store = await newStore();
    const fake = await FakeLeader.start();
    const leader = await lead(store, { ...quiet, join: { advertise: fake.address } });
    await createTable(leader.node);
    fake.play = { secret: "another secret that is long enough", uuid: leader.node.uuid };
    const standby = await join("leader", store, quiet);
    await until("the stream", () => fake.streams.length > 0);
    fake.streams.at(-1)?.send("handover", leader.node.epoch.current);
    await until("its end", () => standby.events.some(({ event }) => event === "stream_lost"));
    await settle(50);
    expect(claims(standby)).toEqual([]);
    fake.play = { secret: secretOf(leader.node), uuid: leader.node.uuid };
    const before = fake.streams.length;
    await until("another stream", () => fake.streams.length > before);
    fake.streams.at(-1)?.send("handover", leader.node.epoch.current);
    const { epoch } = await insert(leader.node, "a");
    fake.streams.at(-1)?.send("told", epoch);
    await until("the next epoch", () => standby.node.epoch.current === epoch);
    await settle(100);
    expect(claims(standby), "the leader is still there").toEqual([]);
  });
});

describe("the shutdown of a leader", () => {
  const knows = ({ node }: Subject, uuid: string) => node.members.current.some((member) => member.uuid === uuid);

  it("takes it out of everyone's roster at once, and hands over", async () => {
    const { leader, follower, others } = await leaderWith([{}]);
    const [standby] = others as [Subject];
    await until("everyone", () => [leader, standby, follower].every(({ node }) => node.members.current.length === 3));
    await insert(leader.node, "a");
    await within("the shutdown", leader.node.shutdown());
    await until("the next leader", () => standby.node.role.current === "leader");
    for (const subject of [standby, follower]) {
      await until("the roster", () => !knows(subject, leader.node.uuid));
      expect(subject.node.members.current.length).toBe(2);
    }
  });

  it("takes it out for good: its last epoch may take long to be written", async () => {
    const settings = { ...QUIET, gossipIntervalMs: 20 };
    const store = await newStore();
    const leader = await lead(store, { settings });
    await createTable(leader.node);
    const follower = await join("follower", store, { settings });
    await until("the stream", () => isStreaming(follower));
    await until("the member", () => knows(leader, follower.node.uuid));
    leader.faults.onCall = (call) => (isWalPut(call) ? { kind: "delay", delayMs: 600 } : undefined);
    const rosters: boolean[] = [];
    void (async () => {
      for await (const members of follower.node.members) {
        rosters.push(members.some(({ uuid }) => uuid === leader.node.uuid));
      }
    })();
    const ack = insert(leader.node, "a");
    const closing = leader.node.shutdown();
    await ack;
    await within("the shutdown", closing);
    await settle(50);
    expect(rosters.at(0)).toBe(true);
    expect(rosters.slice(rosters.indexOf(false)), "once gone it stays gone").toEqual([false]);
  });
});

describe("the writes under way at a hand-over", () => {
  it("are none lost, none doubled, and each is told what became of it, again and again", async () => {
    const store = await newStore();
    const settings = { ...FAST, heartbeatIntervalMs: 1000, sessionTimeoutMs: 60_000, gossipIntervalMs: 200 };
    const first = await lead(store, { settings });
    const created = first.node.transaction((tx) => tx.exec("CREATE TABLE log (name TEXT)"));
    await created.durable;
    const nodes = [first, await join("leader", store, { settings }), await join("leader", store, { settings })];
    const acknowledged: string[] = [];
    const refused: string[] = [];
    const unsettled = new Set<string>();
    const problems: unknown[] = [];
    let isOver = false;
    let number = 0;
    const write = (node: ClusterNode, name: string): Promise<unknown> => {
      const { durable } = node.transaction((tx) => tx.run("INSERT INTO log(name) VALUES (?)", [name]));
      unsettled.add(name);
      const outcome = durable.then(
        () => void acknowledged.push(name),
        (error: unknown) => {
          if (isClusterError(error) && error.kind === "fenced") refused.push(name);
          else problems.push(error);
        },
      );
      return outcome.finally(() => unsettled.delete(name));
    };
    const writer = async (): Promise<void> => {
      while (!isOver) {
        const leading = nodes.find(({ node }) => node.role.current === "leader");
        try {
          if (leading !== undefined) await write(leading.node, `w${number++}`);
        } catch (error) {
          // Between a step-down and the next leader.
          if (!isClusterError(error) || error.kind !== "not_leader") problems.push(error);
        }
        await settle(1);
      }
    };
    const writers = Array.from({ length: 8 }, writer);
    const uuids: string[] = [];
    for (let round = 0; round < 8; round++) {
      const leading = await until("a leader", () => nodes.find(({ node }) => node.role.current === "leader"));
      uuids.push(leading.node.uuid);
      const before = acknowledged.length;
      await until("writes", () => acknowledged.length > before + 20);
      await within("the step-down", leading.node.stepDown());
    }
    await until("the last leader", () => nodes.some(({ node }) => node.role.current === "leader"));
    isOver = true;
    await within("the writers", Promise.all(writers));
    expect(problems).toEqual([]);
    expect([...unsettled]).toEqual([]);
    for (const [index, uuid] of uuids.entries()) expect(uuid, "another one each time").not.toBe(uuids[index - 1]);
    for (const { node } of nodes) {
      await node.sync("linearizable");
      const names = node.db.query<{ name: string }>("SELECT name FROM log").map(({ name }) => name);
      expect(names.length, "none is doubled").toBe(new Set(names).size);
      expect([...names].sort(), "what was acknowledged, and nothing else").toEqual([...acknowledged].sort());
      expect(names.filter((name) => refused.includes(name))).toEqual([]);
    }
  });
});
