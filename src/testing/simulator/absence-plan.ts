/**
 * Members that are away for about as long as the retention, and what befalls them in the moments after they are back: the
 * few seconds for which fencing, audits and proofs are made.
 */
import { drawAmbushedCall, type Fault, type PlannedFault, type PlanShape } from "./fault-plan.ts";
import type { SeededRandom } from "./seeded-random.ts";

const MINUTE_MS = 60_000;
/** So much longer than the retention they are away: some snapshots become old enough in that time, one after the other. */
const BEYOND_MS_MAX = 8 * MINUTE_MS;

export function planAbsences(random: SeededRandom, shape: PlanShape): PlannedFault[] {
  const plan: PlannedFault[] = [];
  const leaveAtMs = shape.beginMs + shape.sessionTimeoutMs * random.between(0.5, 2);
  const lengthMs = drawLength(random, shape);
  for (const member of drawAbsentees(random, shape)) {
    const kind = random.pick(["pause", "pause", "suspend"] as const);
    const atMs = leaveAtMs + random.between(0, 1000);
    // Two that come back within moments of each other meet what the other one has just done.
    const backAtMs = leaveAtMs + lengthMs + random.between(-1, 1) * random.pick([50, 2000, MINUTE_MS]);
    const durationMs = backAtMs - atMs;
    if (random.chance(0.5)) plan.push({ atMs, durationMs, fault: { kind, member } });
    else plan.push({ atMs, durationMs: shape.sessionTimeoutMs, fault: drawLeave(random, member, kind, durationMs) });
    plan.push(...drawReturn(random, shape, member, backAtMs - 1));
  }
  if (random.chance(0.4)) {
    const atMs = leaveAtMs + lengthMs + random.between(-1, 1) * MINUTE_MS;
    plan.push({ atMs, durationMs: random.between(0.2, 5) * MINUTE_MS, fault: drawTrouble(random, shape) });
  }
  return plan.filter(({ atMs, durationMs }) => durationMs > 0 && atMs < shape.endMs);
}

function drawLength(random: SeededRandom, { retentionMs }: PlanShape): number {
  if (random.chance(0.8)) return retentionMs + random.between(0, BEYOND_MS_MAX);
  // About half of it is where "just now" ends for a node (`TRIM_AGE_MIN_MS`).
  return retentionMs * random.pick([0.5, 0.9]) + random.between(-1, 1) * 3 * MINUTE_MS;
}

/** Never all; the first member to start leads most of the time when nothing has gone wrong yet. */
function drawAbsentees(random: SeededRandom, { memberCount }: PlanShape): readonly number[] {
  const others = random.shuffled(Array.from({ length: memberCount - 1 }, (_, index) => index + 1));
  const members = random.chance(0.7) ? [0, ...others] : others;
  return members.slice(0, random.chance(0.6) ? 2 : 1);
}

/** Away since it wrote something. */
function drawLeave(random: SeededRandom, member: number, then: "pause" | "suspend", forMs: number): Fault {
  const moment = random.pick(["sent", "landed"] as const);
  return { kind: "ambush", member, operation: "put", of: "epochs", moment, then, forMs };
}

/** Stopped again at what it does next, for moments; often before anybody could tell it anything. */
function drawReturn(random: SeededRandom, shape: PlanShape, member: number, atMs: number): PlannedFault[] {
  const { sessionTimeoutMs } = shape;
  const plan: PlannedFault[] = [];
  if (random.chance(0.6)) {
    const durationMs = sessionTimeoutMs * random.pick([0.1, 1, 4]) * random.between(0.7, 1.3);
    plan.push({ atMs, durationMs, fault: { kind: "isolate", member } });
  }
  for (let count = random.int(0, 3); count > 0; count--) {
    const then = random.pick(["crash", "pause", "pause", "pause", "suspend"] as const);
    const forMs = sessionTimeoutMs * random.pick([0.02, 0.2, 0.5, 0.9, 3]) * random.between(0.7, 1.1);
    const fault: Fault = { ...drawAmbushedCall(random), member, then, forMs };
    plan.push({ atMs, durationMs: 4 * sessionTimeoutMs, fault });
  }
  return plan;
}

/** Of everybody. */
function drawTrouble(random: SeededRandom, { memberCount, sessionTimeoutMs }: PlanShape): Fault {
  const landMsMax = sessionTimeoutMs * 4;
  return random.pick<Fault>([
    { kind: "lostAnswers", rate: 0.5 },
    { kind: "lostRequests", rate: 0.5 },
    { kind: "lateLandings", rate: 0.5, landMsMax },
    { kind: "slowStore", factor: random.pick([10, 100]) },
    { kind: "crash", member: random.int(0, memberCount - 1) },
    { kind: "stepDown" },
    { kind: "outage" },
  ]);
}
