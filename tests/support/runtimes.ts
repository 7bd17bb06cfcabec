/** How a script is run in a process of its own, on each of the three runtimes. */
import process from "node:process";
import { fileURLToPath } from "node:url";

export type RuntimeName = "node" | "deno" | "bun";
export const RUNTIMES: readonly RuntimeName[] = ["node", "deno", "bun"];
/** The repository. */
export const ROOT: string = fileURLToPath(new URL("../../", import.meta.url));

const isNode = process.versions["bun"] === undefined && process.versions["deno"] === undefined;
const COMMANDS: Readonly<Record<RuntimeName, readonly [string, ...string[]]>> = {
  node: [isNode ? process.execPath : "node", "--import", "tsx"],
  deno: [`${ROOT}node_modules/.bin/deno`, "run", "-A", "--no-check"],
  bun: [`${ROOT}node_modules/.bin/bun`],
};

/** The command that runs `script`, a path inside the repository. */
export function commandOf(runtime: RuntimeName, script: string): readonly [string, ...string[]] {
  return [...COMMANDS[runtime], `${ROOT}${script}`];
}
