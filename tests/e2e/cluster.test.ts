/** Clusters of real processes, in every mixture of runtimes: `examples/lol_cluster.ts` as a black box. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { testDirectory } from "../support/directory.ts";
import { Appender, type Lol, occupyPort, RUNTIMES, runLol, SESSION_TIMEOUT_MS, startNode } from "../support/lol.ts";
import { until, within } from "../support/wait.ts";

const SLOW = { timeout: 60_000 };
const HEADER = /^│ \* +│ UUID\((\d+)\) +│ Address +│ AZ +│ Roles +│$/;
const ROW = /^│ ([* ]) +│ ([0-9a-f-]{36}) +│ ([\d.]+:\d+) +│ (\S+) +│ (.*?) +│$/;

interface Answer {
  readonly status: number;
  readonly value?: string;
  readonly epoch?: number;
  readonly error?: string;
}

async function ask(node: Lol, path: string, init?: RequestInit): Promise<Answer> {
  const response = await node.fetch(path, init);
  return { status: response.status, ...((await response.json()) as object) };
}

const put = (node: Lol, key: string, value: string) => ask(node, `/kv/${key}`, { method: "PUT", body: value });

async function listAt(node: Lol, key: string): Promise<string[]> {
  const { value } = await ask(node, `/kv/${key}?level=linearizable`);
  return JSON.parse(value ?? "[]") as string[];
}

async function expectNothingLost(node: Lol, key: string, appender: Appender): Promise<void> {
  const elements = await listAt(node, key);
  expect(new Set(elements).size, "none is doubled").toBe(elements.length);
  expect(
    appender.acknowledged.filter((element) => !elements.includes(element)),
    "none is lost",
  ).toEqual([]);
}

/** Waits for a table of `count` members below a line, and gives its rows. */
async function tableBelow(node: Lol, text: string, count: number): Promise<string[][]> {
  return await until(`a table of ${count} below "${text}"`, () => {
    const { lines } = node;
    for (let at = lines.length - 1; at >= 0; at--) {
      if (lines[at] !== text) continue;
      const size = Number(HEADER.exec(lines[at + 2] ?? "")?.[1]);
      const rows = lines.slice(at + 3).flatMap((line) => {
        const match = ROW.exec(line);
        return match === null ? [] : [match.slice(1)];
      });
      if (size === count && rows.length >= count) return rows.slice(0, count);
    }
    return undefined;
  });
}

describe("a cluster of processes", () => {
  for (const runtime of RUNTIMES) {
    it(`led by ${runtime}, with followers on every runtime`, SLOW, async () => {
      const directory = testDirectory();
      const leader = await startNode(runtime, "leader", directory, ["--az", "AZ7", "-r", "one", "-r", "two"]);
      await until("the leader", () => leader.isLeading());
      const followers = await Promise.all(RUNTIMES.map((name) => startNode(name, "follower", directory, ["-r", name])));
      for (const [index, follower] of followers.entries()) {
        const key = `key ${index}/ä`;
        const path = encodeURIComponent(key);
        const { status, epoch } = await put(follower, path, `value ${index}`);
        expect([status, typeof epoch]).toEqual([200, "number"]);
        expect(await ask(follower, `/kv/${path}?at=${Number(epoch) - 1}`)).toMatchObject({ status: 404 });
        expect(await ask(follower, `/kv/${path}?at=${epoch}`)).toMatchObject({
          status: 200,
          value: `value ${index}`,
          epoch,
        });
        expect(await ask(follower, `/kv/${path}?at=tomorrow`)).toMatchObject({ status: 400, code: "bad_point" });
        for (const node of [leader, follower]) {
          for (const query of [`atLeast=${epoch}`, "level=linearizable"]) {
            const answer = await ask(node, `/kv/${path}?${query}`);
            expect(answer).toMatchObject({ status: 200, value: `value ${index}` });
            expect(answer.epoch).toBeGreaterThanOrEqual(epoch as number);
          }
        }
        expect(await ask(follower, `/kv/${path}`, { method: "DELETE" })).toMatchObject({ status: 200 });
        expect(await ask(follower, `/kv/${path}?level=linearizable`)).toMatchObject({
          status: 404,
          error: "no such key",
        });
        expect((await follower.fetch("/hello")).status).toBe(503);
      }
      expect(await (await leader.fetch("/hello")).text()).toBe("Hello from the leader!");

      await until("four members", async () => (await leader.status()).members.length === 4);
      const rows = await tableBelow(leader, "Members changed:", 4);
      const own = rows.filter(([star]) => star === "*");
      expect(own).toEqual([["*", (await leader.status()).this.uuid, leader.url.slice(7), "AZ7", "one, two"]]);
      expect(rows.map(([, , , , roles]) => roles).sort()).toEqual(["bun", "deno", "node", "one, two"]);
      expect(leader.lines.filter((line) => /^[A-Z]/.test(line)).slice(0, 4)).toEqual([
        "Initializing cluster...",
        "Cluster initialized!",
        "Joining cluster...",
        `Joined cluster! Listening on ${leader.url}`,
      ]);
      for (const line of ["Initial members:", "Waiting for leadership...", "We are the new leader!", "Leader changed:"])
        expect(leader.lines).toContain(line);
      for (const follower of followers) {
        expect(follower.lines.filter((line) => /^[A-Z]/.test(line)).slice(0, 2)).toEqual([
          "Joining cluster...",
          `Joined cluster! Listening on ${follower.url}`,
        ]);
        expect(follower.lines).not.toContain("Waiting for leadership...");
        expect(follower.errors).toBe("");
      }
      expect(leader.output, "no colour but on a terminal").not.toContain("\u001b");
      expect(leader.errors).toBe("");
    });
  }

  it("loses no acknowledged write, and doubles none, when its leader is killed under load", SLOW, async () => {
    const directory = testDirectory();
    const leader = await startNode("node", "leader", directory);
    await until("the leader", () => leader.isLeading());
    const [standby, follower] = await Promise.all([
      startNode("deno", "leader", directory),
      startNode("bun", "follower", directory),
    ]);
    const appender = new Appender(follower, "load", 4);
    await until("writes", () => appender.acknowledged.length > 100);
    await leader.kill();
    const before = appender.acknowledged.length;
    await until("the takeover", () => standby.isLeading(), 20_000);
    await until("writes after it", () => appender.acknowledged.length > before + 100, 20_000);
    await appender.stop();
    await expectNothingLost(standby, "load", appender);
    await expectNothingLost(follower, "load", appender);
    await until("the dead is no member", async () => (await follower.status()).members.length === 2);
  });

  it(
    "has its leader back as a standby that acknowledged nothing wrong after a pause longer than the session time-out",
    SLOW,
    async () => {
      const directory = testDirectory();
      const paused = await startNode("bun", "leader", directory);
      await until("the leader", () => paused.isLeading());
      const standby = await startNode("node", "leader", directory);
      const appender = new Appender(paused, "paused", 2);
      await until("writes", () => appender.acknowledged.length > 50);
      paused.signal("SIGSTOP");
      const late = ["x", "y"].map((element) =>
        paused
          .fetch("/append/paused", { method: "POST", body: element })
          .then(({ ok }) => (ok ? element : undefined))
          .catch(() => undefined),
      );
      await until("the takeover", () => standby.isLeading(), 20_000);
      const { epoch } = await put(standby, "theirs", "1");
      await sleep(SESSION_TIMEOUT_MS / 5);
      paused.signal("SIGCONT");
      await until("the step back", async () => (await paused.status()).role === "standby");
      const claimed = (await within("the late answers", Promise.all(late), 25_000)).filter(
        (element) => element !== undefined,
      );
      await appender.stop();
      await expectNothingLost(standby, "paused", appender);
      const elements = await listAt(standby, "paused");
      for (const element of claimed) expect(elements).toContain(element);
      expect(await ask(paused, `/kv/theirs?atLeast=${epoch}`)).toMatchObject({ value: "1" });
      expect(await listAt(paused, "paused")).toEqual(elements);
      expect(await standby.isLeading()).toBe(true);
    },
  );

  it("hands over on SIGTERM, exit 0; a second signal ends at once", SLOW, async () => {
    const directory = testDirectory();
    const first = await startNode("deno", "leader", directory);
    await until("the leader", () => first.isLeading());
    const second = await startNode("bun", "leader", directory);
    const appender = new Appender(second, "term", 2);
    await until("writes", () => appender.acknowledged.length > 20);
    first.signal("SIGTERM");
    expect(await within("the end", first.exited, 12_000)).toEqual({ code: 0, signal: null });
    expect(first.lines).toContain("Goodbye!");
    await until("the hand-over", () => second.isLeading(), 5000);
    await appender.stop();
    await expectNothingLost(second, "term", appender);
    await until("one member", async () => (await second.status()).members.length === 1);
    await tableBelow(second, "Members changed:", 1);

    // An answer in flight holds the graceful end up.
    const waiting = second.fetch("/kv/x?atLeast=1000000").catch(() => undefined);
    await sleep(100);
    second.signal("SIGINT");
    await until("the leaving", () => second.output.includes("SIGINT: leaving the cluster..."));
    second.signal("SIGINT");
    expect(await within("the end at once", second.exited, 5000)).toEqual({ code: 130, signal: null });
    await waiting;
  });

  it("comes of two leaders that race on an empty directory", SLOW, async () => {
    const directory = testDirectory();
    const nodes = await Promise.all([startNode("bun", "leader", directory), startNode("node", "leader", directory)]);
    await until("both know both", async () => {
      const statuses = await Promise.all(nodes.map((node) => node.status()));
      return (
        statuses.every(({ members }) => members.length === 2) &&
        statuses.filter(({ is_leader }) => is_leader).length === 1
      );
    });
    for (const node of nodes) {
      await until("its table", () => node.lines.some((line) => HEADER.exec(line)?.[1] === "2"));
      expect(node.errors).toBe("");
    }
    expect(nodes.filter(({ lines }) => lines.includes("Cluster initialized!")).length).toBe(1);
  });
});

describe("lol_cluster", () => {
  it("initializes once: a second time is an error, exit 1", SLOW, async () => {
    const directory = testDirectory();
    const first = await runLol(["-p", directory, "init"]);
    expect([first.code, first.errors]).toEqual([0, ""]);
    expect(first.output).toMatch(/Initializing cluster\.\.\.\n.*Cluster initialized!\n$/);
    const second = await runLol(["-p", directory, "init"], "node");
    expect(second.code).toBe(1);
    expect(second.errors).toMatch(/^Error: there is a cluster at file:.* already: join it, or choose another place\n$/);
    const other = await runLol(["-p", directory, "-a", "127.0.0.1:0", "-c", "other", "follower"]);
    expect([other.code, other.errors]).toEqual([1, expect.stringContaining("holds cluster lol, not other")]);
  });

  it("says what is wrong with its address, its options and its directory, exit 1", SLOW, async () => {
    const directory = testDirectory();
    await runLol(["-p", directory, "init"]);
    const port = await occupyPort();
    const file = join(directory, "file");
    writeFileSync(file, "");
    const common = ["-p", directory, "-a", "127.0.0.1:0"];
    const bad: [string[], RegExp][] = [
      [
        ["-p", directory, "-a", `127.0.0.1:${port}`, "leader"],
        new RegExp(`^Error: .*127\\.0\\.0\\.1:${port}.*another process listens there`),
      ],
      [["-p", directory, "-a", "nonsense", "leader"], /^Error: .*nonsense/],
      [["-p", file, "-a", "127.0.0.1:0", "follower"], /^Error: .*not a directory/],
      [[...common, "--heartbeat-ms", "soon", "leader"], /--heartbeat-ms.*expected whole milliseconds/],
      [
        [...common, "--heartbeat-ms", "5000", "--session-timeout-ms", "6000", "leader"],
        /^Error: .*wrong:\n {2}heartbeatIntervalMs: must be at most half of sessionTimeoutMs \(6000\), is 5000/,
      ],
      [[...common, "-r", "a b", "leader"], /^Error: role "a b"/],
      [[...common, "--az", "", "leader"], /^Error: .*\n {2}az: /],
      [["-s", "nonsense", "leader"], /^Error: .*nonsense|^Error: .*URL/],
      [[...common, "--nonsense", "leader"], /unknown option '--nonsense'/],
      [[...common, "conquer"], /unknown command 'conquer'/],
    ];
    for (const [args, expected] of bad) {
      const { code, errors } = await runLol(args);
      expect(errors, args.join(" ")).toMatch(expected);
      expect(code, args.join(" ")).toBe(1);
      expect(errors, "no stack").not.toMatch(/^\s+at /m);
    }
  });
});
