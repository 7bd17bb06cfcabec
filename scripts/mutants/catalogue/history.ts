/** Snapshots, packs, retention, restore, rollback, forks: src/history and its policies. */
import { type Edit, type Mutant, mutant } from "../mutant.ts";

const RETENTION = { test: "tests/history/retention.test.ts" };
const RESTORE = { test: "tests/history/restore.test.ts" };
const PACKS = { test: "tests/history/packs.test.ts" };
const PLAN = { test: "tests/protocol/restore-plan.test.ts" };
const SNAPSHOT = { test: "tests/node/snapshot.test.ts" };
const DAMAGE = { test: "tests/node/damage.test.ts" };
const FORK = { test: "tests/history/fork.test.ts" };
const EXPORT = { test: "tests/history/export.test.ts" };
const SIMULATOR = { sim: { seeds: 200 } };
const ABSENCES = { sim: { seeds: 200, profile: "absence" } };

const retention = (find: string, replace: string): Edit => ({ file: "src/history/retention.ts", find, replace });
const boundary = (find: string, replace: string): Edit => ({ file: "src/protocol/retention.ts", find, replace });
const walk = (find: string, replace: string): Edit => ({ file: "src/history/restore-walk.ts", find, replace });
const restore = (find: string, replace: string): Edit => ({ file: "src/history/restore.ts", find, replace });

export const HISTORY_MUTANTS: readonly Mutant[] = [
  mutant(
    "snapshot-is-skipped",
    "P10",
    "A snapshot whose age could not be learned is not looked at again, and the bucket keeps what is before it.",
    retention(
      '        const asked = kind === "snapshot" ? await this.#ask(epoch, signal) : undefined;\n',
      '        this.#scannedKey = key;\n        const asked = kind === "snapshot" ? await this.#ask(epoch, signal) : undefined;\n',
    ),
    [RETENTION],
  ),
  mutant(
    "ages-of-a-suspended-machine",
    "P10",
    "A leader whose machine was suspended takes snapshots for younger than they are.",
    retention("    return Math.abs(apartMs) > CLOCKS_APART_MS_MAX;", "    return apartMs > Number.MAX_VALUE;"),
    [RETENTION],
  ),
  mutant(
    "slow-restore-is-fresh",
    "P2",
    "LATE_RESTORE_IS_PROGRESS: a restore that was paused for longer than the retention counts as of its end.",
    restore("if (elapsedMs(restored.readAt, readClock(parts.clock)) > TRIM_AGE_MIN_MS)", "if (attempt < 0)"),
    [RESTORE],
  ),
  mutant(
    "unproven-is-believed-at-once",
    "P2",
    "A newest snapshot that nothing speaks for is taken as it is read the first time.",
    restore(
      "      if (isSame(unproven, again)) return restored;",
      "      if (attempt > 0 || isSame(unproven, again)) return restored;",
    ),
    [RESTORE, DAMAGE],
  ),
  mutant(
    "age-since-the-question",
    "P1",
    "A snapshot's age counts from before the store was asked for it.",
    retention(
      "    const { store, settings } = this.#parts;\n    const stat = await store.head(snapshotKey(epoch), { signal });\n    // When the answer is here: what the request took, and a pause meanwhile, only makes it delete later.\n    return stat && { epoch, ageMs: stat.nowMs - stat.lastModifiedMs, askedAt: instantOf(readClock(settings.clock)) };",
      "    const { store, settings } = this.#parts;\n    const askedAt = instantOf(readClock(settings.clock));\n    const stat = await store.head(snapshotKey(epoch), { signal });\n    return stat && { epoch, ageMs: stat.nowMs - stat.lastModifiedMs, askedAt };",
    ),
    [RETENTION],
  ),
  mutant(
    "trim-newest",
    "P1",
    "TRIM_NEWEST: the retention may delete the newest epoch, and what the oldest snapshot needs.",
    boundary(
      'return kind === "pack" ? epoch <= boundary : epoch < boundary;',
      "return kind !== undefined && epoch <= boundary + 1;",
    ),
    [ABSENCES, RETENTION],
  ),
  mutant(
    "trim-young",
    "P1",
    "TRIM_YOUNG: history is deleted up to the newest snapshot, however young.",
    boundary(
      "return snapshots.findLast(({ ageMs }) => ageMs >= retentionMs)?.epoch;",
      "return snapshots.findLast(({ ageMs }) => ageMs <= retentionMs || ageMs > 0)?.epoch;",
    ),
    [RETENTION, SIMULATOR],
  ),
  mutant(
    "trim-packs-that-lead-on",
    "P1",
    "Packs that begin before the boundary and lead beyond it are deleted.",
    boundary(
      'return kind === "pack" ? epoch <= boundary : epoch < boundary;',
      'return kind === "pack" ? epoch <= boundary + 64 : epoch < boundary;',
    ),
    [RETENTION],
  ),
  mutant(
    "trim-unseen",
    "P1",
    "History is deleted without a look at the snapshot that is to take its place.",
    retention("    await this.#checkBoundary(boundary, signal);\n", ""),
    [RETENTION],
  ),
  mutant(
    "trim-before-telling",
    "P1",
    "The marker of the retention is not raised: readers take what is gone for damage.",
    retention("    if (boundary > earlier) await store.put(", "    if (boundary < earlier) await store.put("),
    [RETENTION],
  ),
  mutant(
    "vacuum-marker-is-proof",
    "P1",
    "The marker of the retention is believed, whatever it names.",
    retention("return stat && { epoch: marked, isOld: ", "return { epoch: marked, isOld: stat === undefined || "),
    [RETENTION, SIMULATOR],
  ),
  mutant(
    "retention-below-an-hour",
    "P1",
    "The retention may be shorter than what a join takes.",
    {
      file: "src/config.ts",
      find: "retentionMs: milliseconds(60 * MINUTE_MS,",
      replace: "retentionMs: milliseconds(1,",
    },
    [{ test: "tests/config.test.ts" }],
  ),
  mutant(
    "snapshot-every-interval",
    "P10",
    "A full copy is written every 30 s whether or not it spares anything, as in the original.",
    {
      file: "src/protocol/snapshots.ts",
      find: "    situation.bytes > bytesMax || situation.objects",
      replace: "    situation.bytes >= 0 || situation.bytes > bytesMax || situation.objects",
    },
    [{ test: "tests/protocol/policies.test.ts" }, SNAPSHOT],
  ),
  mutant(
    "snapshot-marked-unproven",
    "P7",
    "A snapshot is marked before the epoch that proves it is durable.",
    {
      file: "src/history/snapshotter.ts",
      find: "this.#replica.epoch <= epoch; signal",
      replace: "this.#replica.epoch < epoch; signal",
    },
    [SNAPSHOT],
  ),
  mutant(
    "snapshot-of-a-moving-image",
    "P2",
    "A snapshot is read from the image while it moves.",
    {
      file: "src/history/snapshotter.ts",
      find: "read: (offset: number, length: number) => pin.copy(offset, length) };",
      replace:
        "read: (offset: number, length: number) => { const now = state.image.pin(); const bytes = now.copy(offset, length); now.release(); return bytes; } };",
    },
    [SNAPSHOT],
  ),
  mutant(
    "snapshot-leaks-its-pin",
    "P10",
    "A snapshot's pin is held for ever.",
    { file: "src/history/snapshotter.ts", find: "      pin.release();\n", replace: "" },
    [SNAPSHOT],
  ),
  mutant(
    "follower-takes-snapshots",
    "P2",
    "A node that does not lead any more goes on with its snapshot.",
    {
      file: "src/history/snapshotter.ts",
      find: "    this.#leading?.abort();\n    this.#leading = undefined;\n    this.#onEpoch();",
      replace: "    this.#onEpoch();",
    },
    [{ test: "tests/node/snapshot-after-leading.test.ts" }],
  ),
  mutant(
    "packs-leak-pins",
    "P10",
    "Packs that wait hold any number of pins.",
    {
      file: "src/history/packer.ts",
      find: "|| this.#jobs.length >= WAITING_MAX)",
      replace: "|| this.#jobs.length >= 1_000_000)",
    },
    [{ test: "tests/history/packer.test.ts" }],
  ),
  mutant(
    "pack-keeps-its-pin",
    "P10",
    "The pin of a pack that was written is held for ever.",
    { file: "src/history/packer.ts", find: "        job.pin.release();\n", replace: "" },
    [SIMULATOR],
  ),
  mutant(
    "pack-forgets-what-was-cut-off",
    "P2",
    "A pack made of epochs has the old bytes of pages that were cut off and grown over.",
    {
      file: "src/history/compose-pack.ts",
      find: "      this.#pages.set(pageNumber, ZEROS);\n",
      replace: "      if (pageNumber < 1) this.#pages.set(pageNumber, ZEROS);\n",
    },
    [{ test: "tests/history/forged-history.test.ts" }],
  ),
  mutant(
    "lost-is-not-told",
    "P7",
    "verify says of epochs that cannot be restored that they can.",
    {
      file: "src/history/verify.ts",
      find: "[this.#lostBefore]), ...this.#walk.lost];",
      replace: "[this.#lostBefore])];",
    },
    [{ test: "tests/history/random-history.test.ts" }],
  ),
  mutant(
    "pack-at-the-end-is-used",
    "P7",
    "A pack that nothing proves yet ends a restore.",
    {
      file: "src/protocol/restore-plan.ts",
      find: "const isEndUsable = wals.has(target + 1) || !wals.has(target);",
      replace: "const isEndUsable = wals.size >= 0;",
    },
    [PLAN, RESTORE, PACKS],
  ),
  mutant(
    "contradiction-is-ignored",
    "P7",
    "A restored state that the next epoch contradicts is shown.",
    walk('      if (contradicts(error) || error.code === "snapshot_corrupt") throw error;\n', ""),
    [RESTORE],
  ),
  mutant(
    "unproven-is-shown",
    "P7",
    "A past epoch that nothing proves is shown.",
    walk(
      "    if (upTo === undefined || upTo >= this.#options.newest) return await",
      "    if (upTo === undefined || upTo >= 0) return await",
    ),
    [RESTORE],
  ),
  mutant(
    "restore-ends-early",
    "P1",
    "A restore is content with an older epoch than the newest that there is.",
    restore(
      "if (this.#parts.upTo !== undefined || restored.state.epoch >= newest) return restored;",
      "return restored;",
    ),
    [RESTORE, DAMAGE],
  ),
  mutant(
    "foreign-packs-end-a-restore",
    "P2",
    "Packs of ours that tell of lost epochs are left aside as if they were another cluster's.",
    restore("return areOurs.includes(true) ? undefined : restored;", "return restored;"),
    [RESTORE],
  ),
  mutant(
    "snapshot-without-its-own-wal",
    "P2",
    "A snapshot of the newest epoch is used though its own epoch's pages differ.",
    {
      file: "src/sqlite/replica-state.ts",
      find: "if (other !== undefined) this.#refuse(what,",
      replace: "if (other === 0) this.#refuse(what,",
    },
    [{ test: "tests/sqlite/verify.test.ts" }, RESTORE],
  ),
  mutant(
    "rollback-keeps-the-schema-cookie",
    "P4",
    "A rollback takes the schema's number of then: connections take an old schema for the new one.",
    { file: "src/sqlite/rollback-wal.ts", find: "  raise(SCHEMA_COOKIE, [SCHEMA_COOKIE]);\n", replace: "" },
    [{ test: "tests/sqlite/rollback-wal.test.ts" }],
  ),
  mutant(
    "secret-in-copies",
    "P9",
    "An exported file or a fork may hold an older copy of the secret.",
    {
      file: "src/history/without-secret.ts",
      find: "    if (!(await holdsAny(layered, pieces, pause, meter))) return layered;\n",
      replace: "    if (pieces.length >= 0) return layered;\n",
    },
    [FORK, EXPORT],
  ),
  mutant(
    "secret-in-user-data",
    "P9",
    "A copy whose tables hold the secret is given away.",
    {
      file: "src/history/without-secret.ts",
      find: "    if (await holdsAny(rebuilt, [secret], pause, meter)) refuse();\n",
      replace: "",
    },
    [FORK, EXPORT],
  ),
];
