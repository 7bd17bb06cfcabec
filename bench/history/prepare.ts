/**
 * Makes a 256 MiB database on a file-system store, with a history that a join needs packs of every level for: filled, then
 * small epochs, each of them a row of a page at random. Snapshots as the *default* says, as often as it likes.
 *
 * `prepare.ts DIRECTORY`
 */
import process from "node:process";
import { PACK_LEVELS } from "../../src/format/pack.ts";
import { FileSystemStore } from "../../src/mod.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { fill, lead } from "../core/large.ts";
import { DATABASE_BYTES } from "./large-database.ts";

/** Packs of each level that a join reads, the shortest first, and epochs after them. */
const PACKS: readonly number[] = [9, 6, 1];
const EPOCHS_AFTER = 40;
/** As the library's `fill` makes them. */
const BODY_BYTES = 3900;

const directory = process.argv[2] ?? "";
const node = await lead(new FileSystemStore(directory), { intervalMinMs: 0 });
await fill(node, DATABASE_BYTES);
const rows = node.db.get<{ rows: number }>("SELECT max(id) AS rows FROM large")?.rows ?? 0;
const random = new SeededRandom(1);
const last = PACK_LEVELS.reduce((sum, length, level) => sum + length * (PACKS[level] ?? 0), 0) + EPOCHS_AFTER;
while (node.epoch.current < last) {
  const id = 1 + Math.floor(random.fraction() * rows);
  await node.transaction((tx) => tx.run("UPDATE large SET body = randomblob(?) WHERE id = ?", [BODY_BYTES, id]))
    .durable;
}
await node.shutdown();
