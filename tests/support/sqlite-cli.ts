import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** Version of the machine's `sqlite3`; `undefined`, with a word about it, if there is none. */
export const sqliteCliVersion: string | undefined = findVersion();

function findVersion(): string | undefined {
  try {
    return execFileSync("sqlite3", ["--version"], { encoding: "utf8" }).trim();
  } catch {
    if (process.env["LBC_REQUIRE_SQLITE3"] === "1")
      throw new Error("LBC_REQUIRE_SQLITE3 is set, and there is no sqlite3 program");
    console.warn("skipped: there is no sqlite3 program on this machine to open our files with");
    return undefined;
  }
}

/** What stock SQLite answers about `database`, with `wal` beside it if given. */
export function askSqliteCli(database: Uint8Array, wal: Uint8Array | undefined, sql: string): string {
  const folder = mkdtempSync(join(tmpdir(), "lbc-cli-"));
  try {
    writeFileSync(join(folder, "x.db"), database);
    if (wal !== undefined) writeFileSync(join(folder, "x.db-wal"), wal);
    return execFileSync("sqlite3", [join(folder, "x.db"), sql], { encoding: "utf8" }).trim();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The file that stock SQLite makes of a script. */
export function makeWithSqliteCli(script: string, read: (path: string) => Uint8Array): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "lbc-cli-"));
  try {
    execFileSync("sqlite3", [join(folder, "x.db"), script]);
    return read(join(folder, "x.db"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
