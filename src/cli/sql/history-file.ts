/** What was typed into the shell, kept from one time to the next. */
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import type { Environment } from "../../store/s3-credentials.ts";

/** Lines that are kept. */
export const HISTORY_LINES_MAX = 1000;
/** What was typed may tell what is in the database: nobody else reads it. */
const OWNER_ONLY = 0o600;

/** `$XDG_STATE_HOME/lbc/history` if that is set, else `~/.lbc_history`. */
export function historyFile(environment: Environment): string {
  const state = environment["XDG_STATE_HOME"];
  if (state?.startsWith("/")) return join(state, "lbc", "history");
  return join(environment["HOME"] || homedir(), ".lbc_history");
}

/** A file that cannot be read or written is no reason not to work: then nothing is remembered. */
export class HistoryFile {
  readonly path: string;
  #isBroken = false;

  constructor(path: string) {
    this.path = path;
  }

  /** The lines, oldest first; what is too old is dropped from the file. */
  load(): string[] {
    const lines =
      this.#try(() =>
        readFileSync(this.path, "utf8")
          .split("\n")
          .filter((line) => line !== ""),
      ) ?? [];
    const kept = lines.slice(-HISTORY_LINES_MAX);
    if (kept.length < lines.length) {
      this.#try(() => writeFileSync(this.path, `${kept.join("\n")}\n`, { mode: OWNER_ONLY }));
    }
    this.#isBroken = false;
    return kept;
  }

  add(line: string): void {
    if (line.trim() === "" || this.#isBroken) return;
    this.#try(() => {
      mkdirSync(dirname(this.path), { recursive: true });
      appendFileSync(this.path, `${line}\n`, { mode: OWNER_ONLY });
    });
  }

  #try<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch {
      this.#isBroken = true;
      return undefined;
    }
  }
}
