/** What goes wrong between the nodes and an S3 server. */
import type { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import type { Fault } from "./fault.ts";
import type { RequestFault, S3Proxy } from "./s3-proxy.ts";

const SLOW_MS = 1200;
const LATE_MS = 4000;

export function s3Faults(proxy: S3Proxy): readonly Fault[] {
  const fault = (
    name: string,
    sessions: readonly [number, number],
    faultOf: (method: string, random: SeededRandom) => RequestFault | undefined,
  ): Fault => ({
    name,
    lane: "store",
    run: async ({ random, pause, sessionTimeoutMs }) => {
      try {
        proxy.faultOf = (method) => faultOf(method, random);
        await pause(sessions[0] * sessionTimeoutMs, sessions[1] * sessionTimeoutMs);
      } finally {
        proxy.heal();
      }
      return proxy.endpoint;
    },
  });
  const sometimes = (random: SeededRandom, share: number, done: RequestFault) =>
    random.chance(share) ? done : undefined;
  const answer = (status: number, code: string): RequestFault => ({ kind: "answer", status, code });
  const short = [0.4, 1] as const;
  const long = [1.1, 1.6] as const;
  return [
    fault("store 503", short, (_, random) => sometimes(random, 0.5, answer(503, "SlowDown"))),
    fault("store 429", short, (_, random) => sometimes(random, 0.5, answer(429, "TooManyRequests"))),
    fault("store 409 to PUT", short, (method, random) =>
      method === "PUT" ? sometimes(random, 0.5, answer(409, "ConditionalRequestConflict")) : undefined,
    ),
    fault("store slow", short, (_, random) => ({ kind: "delay", ms: random.between(0, SLOW_MS) })),
    fault("store resets before effect", short, (_, random) => sometimes(random, 0.4, { kind: "reset" })),
    fault("store loses answers", short, (_, random) => sometimes(random, 0.5, { kind: "lose_answer" })),
    fault("store cuts answers short", short, (_, random) => sometimes(random, 0.4, { kind: "truncate" })),
    fault("store lands PUTs later", [0.6, 1.2], (method, random) =>
      method === "PUT" || method === "DELETE"
        ? sometimes(random, 0.5, { kind: "land_later", ms: random.between(0, LATE_MS) })
        : undefined,
    ),
    fault("store outage (resets)", long, () => ({ kind: "reset" })),
    fault("store outage (silence)", long, () => ({ kind: "hang" })),
  ];
}
