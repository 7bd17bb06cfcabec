/** A process that races for keys of a `FileSystemStore`: node race-process.ts DIRECTORY NAME KEYS; prints those that it won. */
import process from "node:process";
import { FileSystemStore } from "../../src/store/file-system-store.ts";

const [directory = "", name = "", count = "0"] = process.argv.slice(2);
const store = new FileSystemStore(directory);
const body = new TextEncoder().encode(name.repeat(1_000));
const keys = Array.from({ length: Number(count) }, (_, index) => `race/${index % 7}/${index}`);

process.stdout.write("ready\n");
await new Promise((resolve) => process.stdin.once("data", resolve));

const won: string[] = [];
const rest = keys.values();
const worker = async () => {
  for (const key of rest) {
    if ((await store.put(key, body, { ifAbsent: true })) === "created") won.push(key);
  }
};
await Promise.all([worker(), worker(), worker(), worker()]);
process.stdout.write(`${JSON.stringify(won)}\n`, () => process.exit(0));
