/** `npm run bench -- cluster [PART…]`: every figure that is promised for several nodes, each in a process of its own. */
import { execFileSync } from "node:child_process";
import process from "node:process";
import { commandOf, RUNTIMES } from "../tests/support/runtimes.ts";
import { idleFigures } from "./cluster/idle.ts";
import { lagFigures } from "./cluster/lag.ts";
import type { RequestsResult } from "./cluster/requests.ts";
import { handoverFigures, takeoverFigures } from "./cluster/takeover.ts";
import { type Figure, figure } from "./report.ts";

/** Ratio to `fetch` that is promised. */
const REQUEST_GOALS = { node: 2.5, deno: 0.6, bun: 0.6 };

function requestFigures(): Figure[] {
  return RUNTIMES.flatMap((runtime) => {
    const [command, ...args] = commandOf(runtime, "bench/cluster/requests.ts");
    const output = execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
    const { ratio, requestsPerSecond, http1RequestsPerSecond, inFlight, atOnce, answered } = JSON.parse(
      output,
    ) as RequestsResult;
    return [
      figure(`${runtime}: leaderClient.fetch × fetch over HTTP/1.1, ${inFlight} in flight`, ratio, {
        atLeast: REQUEST_GOALS[runtime],
        detail: `${Math.round(requestsPerSecond)} to ${Math.round(http1RequestsPerSecond)} requests a second`,
      }),
      figure(`${runtime}: of ${atOnce} requests sent at once, answered`, answered, { atLeast: atOnce }),
    ];
  });
}

const PARTS: Readonly<Record<string, () => Figure[] | Promise<Figure[]>>> = {
  lag: lagFigures,
  requests: requestFigures,
  takeover: takeoverFigures,
  handover: handoverFigures,
  idle: idleFigures,
};

/** Measures every part, or those that are named. */
export async function cluster(names: readonly string[]): Promise<Figure[]> {
  const unknown = names.find((name) => PARTS[name] === undefined);
  if (unknown !== undefined) throw new Error(`no part ${unknown}: ${Object.keys(PARTS).join(", ")}`);
  const figures: Figure[] = [];
  // One after the other: each has the machine for itself.
  for (const [name, measure] of Object.entries(PARTS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    process.stderr.write(`${name}…\n`);
    figures.push(...(await measure()));
  }
  return figures;
}
