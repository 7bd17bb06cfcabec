import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { fileSystemError } from "../../src/store/file-system-errors.ts";
import { FileSystemStore } from "../../src/store/file-system-store.ts";
import { writeFileDurably } from "../../src/store/file-system-write.ts";
import { codeOf, failureOf } from "./failure.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const RACE_PROCESS = fileURLToPath(new URL("./race-process.ts", import.meta.url));
const RACED_KEYS = 200;
const BODY = new TextEncoder().encode("body");

function everythingIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true }).map(String).sort();
}

/** Root may do everything: for it, the calls are made as another user. */
async function asNobody(calls: () => Promise<void>): Promise<void> {
  if (process.getuid?.() !== 0) return await calls();
  process.seteuid?.(65_534);
  try {
    await calls();
  } finally {
    process.seteuid?.(0);
  }
}

describe("processes that share a directory", () => {
  function startRacer(directory: string, name: string): { ready: Promise<void>; go: () => Promise<string[]> } {
    const args = ["--import", "tsx", RACE_PROCESS, directory, name, String(RACED_KEYS)];
    const child: ChildProcess = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    let output = "";
    let wake = () => {};
    child.stdout?.on("data", (data) => {
      output += data;
      wake();
    });
    const linesAre = (count: number) =>
      new Promise<string[]>((resolve, reject) => {
        child.once("exit", (code) => reject(new Error(`the process ended with ${code}: ${output}`)));
        wake = () => {
          const lines = output.split("\n");
          if (lines.length > count) resolve(lines);
        };
        wake();
      });
    const go = async () => {
      child.stdin?.write("go\n");
      return JSON.parse((await linesAre(2))[1] as string) as string[];
    };
    return { ready: linesAre(1).then(() => undefined), go };
  }

  it("create every key exactly once, with the winner's bytes", async () => {
    const directory = join(temporaryDirectory(), "store");
    const names = ["A", "B"];
    const racers = names.map((name) => startRacer(directory, name));
    await Promise.all(racers.map(({ ready }) => ready));
    const won = await Promise.all(racers.map(({ go }) => go()));
    expect(won.flat().length).toBe(RACED_KEYS);
    expect(new Set(won.flat()).size).toBe(RACED_KEYS);
    const store = new FileSystemStore(directory);
    for (const [racer, keys] of won.entries()) {
      for (const key of keys) {
        const bytes = (await store.get(key))?.bytes;
        expect(new TextDecoder().decode(bytes)).toBe((names[racer] as string).repeat(1_000));
      }
    }
  }, 60_000);

  it("may delete the last object of a directory while others write there", async () => {
    const store = new FileSystemStore(temporaryDirectory());
    const other = new FileSystemStore(fileURLToPath(store.url));
    const writing = async () => {
      for (let i = 0; i < 100; i++) expect(await store.put(`a/b/${i}`, BODY, { ifAbsent: true })).toBe("created");
    };
    const deleting = async () => {
      for (let i = 0; i < 300; i++)
        await other.deleteMany(["a/b/x", ...(await other.list("a/")).objects.map(({ key }) => key)]);
    };
    await Promise.all([writing(), deleting()]);
  });
});

describe("what stays in the directory", () => {
  it("is the objects and nothing else", async () => {
    const directory = temporaryDirectory();
    const store = new FileSystemStore(directory);
    await store.put("dir/a", BODY, { ifAbsent: true });
    await store.put("dir/a", BODY, { ifAbsent: true });
    await store.put("dir/b", BODY);
    await store.put("dir/b", BODY);
    const broken = { byteLength: 9, read: () => new Uint8Array(1) };
    expect(await codeOf(store.put("dir/c", broken))).toBe("invalid/bad_part");
    expect(everythingIn(directory)).toEqual(["dir", "dir/a", "dir/b"]);
    await store.deleteMany(["dir/a", "dir/b"]);
    expect(everythingIn(directory)).toEqual([]);
  });

  it("an aborted put leaves nothing", async () => {
    const directory = temporaryDirectory();
    const store = new FileSystemStore(directory);
    const controller = new AbortController();
    const reason = new Error("stop");
    const read = (_offset: number, length: number) => {
      controller.abort(reason);
      return new Uint8Array(length);
    };
    await expect(store.put("a", { byteLength: 100, read }, { signal: controller.signal })).rejects.toBe(reason);
    await expect.poll(() => everythingIn(directory)).toEqual([]);
  });

  it("a put that was aborted at its last moment leaves nothing", async () => {
    const directory = temporaryDirectory();
    const reason = new Error("stop");
    const signal = AbortSignal.abort(reason);
    for (const ifAbsent of [true, false]) {
      const write = {
        root: directory,
        key: "a",
        target: join(directory, "a"),
        body: new Uint8Array(0),
        ifAbsent,
        signal,
      };
      await expect(writeFileDurably(write)).rejects.toBe(reason);
    }
    expect(everythingIn(directory)).toEqual([]);
  });

  it("files of a writer that died are not listed, and swept when they are old", async () => {
    const directory = temporaryDirectory();
    const store = new FileSystemStore(directory);
    await store.put("dir/a", BODY);
    for (const name of [".lbc-tmp-1-young", ".lbc-tmp-1-old"]) writeFileSync(join(directory, "dir", name), "half");
    const hourAgo = Date.now() / 1000 - 3_700;
    utimesSync(join(directory, "dir/.lbc-tmp-1-old"), hourAgo, hourAgo);
    expect((await store.list("")).objects.map(({ key }) => key)).toEqual(["dir/a"]);
    expect(everythingIn(directory)).toEqual(["dir", "dir/.lbc-tmp-1-young", "dir/a"]);
    expect(await codeOf(store.get("dir/.lbc-tmp-1-young"))).toBe("invalid/bad_key");
    expect(await codeOf(store.put(".lbc-tmp-/x", BODY))).toBe("invalid/bad_key");
  });

  it("things that are no objects are not listed", async () => {
    const directory = temporaryDirectory();
    const store = new FileSystemStore(directory);
    await store.put("a", BODY);
    mkdirSync(join(directory, "empty/below"), { recursive: true });
    symlinkSync("a", join(directory, "link"));
    writeFileSync(join(directory, "line\nfeed"), "x");
    expect((await store.list("")).objects).toEqual([{ key: "a", size: 4 }]);
  });

  it("a listing finds its page in a directory larger than what it keeps in memory", async () => {
    const directory = temporaryDirectory();
    for (let i = 0; i < 5_000; i++) writeFileSync(join(directory, String(i).padStart(5, "0")), "");
    for (let i = 0; i < 300; i++) mkdirSync(join(directory, `${String(i * 10).padStart(5, "0")}-empty`));
    const store = new FileSystemStore(directory);
    const keys: string[] = [];
    for (let more = true; more; ) {
      const page = await store.list("", { limit: 7, startAfter: keys.at(-1) ?? "04900" });
      keys.push(...page.objects.map(({ key }) => key));
      more = page.more;
    }
    expect(keys).toEqual(Array.from({ length: 99 }, (_, index) => String(4_901 + index).padStart(5, "0")));
    expect((await store.list("", { limit: 3 })).objects.map(({ key }) => key)).toEqual(["00000", "00001", "00002"]);
  });
});

describe("failures", () => {
  it("a missing directory is an empty store, and reading does not make it", async () => {
    const directory = join(temporaryDirectory(), "missing/store");
    const store = new FileSystemStore(directory);
    expect(await store.get("a/b")).toBeUndefined();
    expect(await store.head("a")).toBeUndefined();
    expect(await store.list("a/")).toEqual({ objects: [], more: false });
    await store.deleteMany(["a/b", "c"]);
    expect(existsSync(directory)).toBe(false);
    expect(await store.put("a/b", BODY, { ifAbsent: true })).toBe("created");
    expect((await store.get("a/b"))?.bytes).toEqual(BODY);
  });

  it("a store whose directory is a file says so, on every call", async () => {
    const directory = join(temporaryDirectory(), "file");
    writeFileSync(directory, "");
    for (const path of [directory, join(directory, "below")]) {
      const store = new FileSystemStore(path);
      for (const call of [
        () => store.get("a"),
        () => store.head("a"),
        () => store.put("a", BODY),
        () => store.put("a", BODY, { ifAbsent: true }),
        () => store.list(""),
      ]) {
        expect(await codeOf(call())).toBe("invalid/store_bad_directory");
      }
    }
  });

  it("a key cannot be an object and lead to others", async () => {
    const store = new FileSystemStore(temporaryDirectory());
    await store.put("a/b", BODY);
    for (const ifAbsent of [false, true]) {
      expect(await codeOf(store.put("a", BODY, { ifAbsent }))).toBe("invalid/bad_key");
      expect(await codeOf(store.put("a/b/c", BODY, { ifAbsent }))).toBe("invalid/bad_key");
    }
    expect(await store.get("a")).toBeUndefined();
    expect(await store.get("a/b/c")).toBeUndefined();
    expect((await store.get("a/b"))?.bytes).toEqual(BODY);
  });

  it.skipIf(process.seteuid === undefined)("a directory without rights is denied, on every call", async () => {
    const directory = temporaryDirectory();
    const store = new FileSystemStore(directory);
    await store.put("readable/a", BODY);
    await store.put("closed/a", BODY);
    chmodSync(join(directory, "readable"), 0o555);
    chmodSync(join(directory, "closed"), 0o000);
    chmodSync(directory, 0o555);
    onTestFinished(() => chmodSync(directory, 0o755));
    await asNobody(async () => {
      for (const call of [
        () => store.put("new", BODY),
        () => store.put("new/below", BODY, { ifAbsent: true }),
        () => store.put("readable/a", BODY),
        () => store.delete("readable/a"),
        () => store.get("closed/a"),
        () => store.head("closed/a"),
        () => store.list("closed/"),
      ]) {
        expect(await codeOf(call())).toBe("invalid/store_denied");
      }
    });
    expect((await store.get("readable/a"))?.bytes).toEqual(BODY);
  });

  it.each([
    ["EACCES", "invalid/store_denied", "permission denied"],
    ["EROFS", "invalid/store_denied", "read-only"],
    ["ENOSPC", "unavailable/store_full", "no space left"],
    ["EDQUOT", "unavailable/store_full", "no space left"],
    ["ENAMETOOLONG", "invalid/bad_key", "too long"],
    ["EIO", "unavailable/store_failed", "the system said so"],
    ["EMFILE", "unavailable/store_failed", "the system said so"],
  ])("%s is %s", (errno, expected, text) => {
    const cause = Object.assign(new Error("the system said so"), { code: errno });
    const error = fileSystemError({ action: "write", key: "the/key", root: "/the/root" }, cause);
    expect(`${error.kind}/${error.code}`).toBe(expected);
    expect(error.message).toContain(`cannot write "the/key" in /the/root: `);
    expect(error.message).toContain(text);
    expect(error.cause).toBe(cause);
  });

  it.skipIf(process.platform !== "linux")(
    "a file system that makes no directories is an error, not a wait for ever",
    async () => {
      // /proc lets nobody make a directory, root included.
      const error = await failureOf(new FileSystemStore("/proc/lbc-test").put("a", BODY));
      expect([error.kind, error.code]).toEqual(["unavailable", "store_failed"]);
    },
  );
});
