/** What is to go wrong in a simulation, and when: drawn from a seed, and a list, so that it can be cut down to what matters. */
import type { SeededRandom } from "./seeded-random.ts";
import { LANDING_MS_MAX, type StoreOperation } from "./store.ts";

/** Faults of members, of the network, of the store. */
export type Fault =
  | { readonly kind: "crash" | "stop" | "pause" | "suspend"; readonly member: number }
  | { readonly kind: "crashAll" | "rollingRestart" | "stepDown" }
  | { readonly kind: "setWall"; readonly member: number; readonly byMs: number }
  | { readonly kind: "partition"; readonly side: readonly number[] }
  | { readonly kind: "isolate"; readonly member: number }
  | { readonly kind: "oneWay" | "reset"; readonly member: number; readonly other: number }
  | { readonly kind: "slowLink"; readonly member: number; readonly other: number; readonly byMs: number }
  /** Who makes such a call first is stopped when it makes it, or when it has taken effect and nobody knows. */
  | {
      readonly kind: "ambush";
      /** Only this one. */
      readonly member?: number;
      readonly operation: StoreOperation;
      /** Of an epoch, or of whatever else there is: snapshots, packs, markers. Lists are of everything. */
      readonly of: "epochs" | "others";
      readonly moment: "sent" | "landed";
      readonly then: "crash" | "pause" | "suspend";
      readonly forMs: number;
    }
  | { readonly kind: "outage" }
  | { readonly kind: "storeless"; readonly member: number }
  | { readonly kind: "slowStore"; readonly factor: number }
  /** What is sent and what is answered passes at this speed. */
  | { readonly kind: "slowBodies"; readonly bytesPerMs: number }
  /** More calls than these, of everybody together, are refused. */
  | { readonly kind: "throttle"; readonly perSecond: number }
  | { readonly kind: "refusals" | "lostRequests" | "lostAnswers" | "damagedReads"; readonly rate: number }
  | { readonly kind: "lateLandings"; readonly rate: number; readonly landMsMax: number };

export type FaultKind = Fault["kind"];

export interface PlannedFault {
  readonly atMs: number;
  readonly durationMs: number;
  readonly fault: Fault;
}

/** How often what goes wrong. */
export interface PlanShape {
  readonly memberCount: number;
  readonly beginMs: number;
  readonly endMs: number;
  /** Between two faults, on average. */
  readonly everyMs: number;
  readonly sessionTimeoutMs: number;
  readonly retentionMs: number;
  /** Whether members may be away for longer than the retention. */
  readonly acrossRetention: boolean;
}

/** The kinds, each as often as its weight says. */
const WEIGHTS: Readonly<Record<FaultKind, number>> = {
  crash: 6,
  stop: 3,
  pause: 6,
  suspend: 3,
  crashAll: 1,
  rollingRestart: 1,
  stepDown: 3,
  setWall: 2,
  partition: 3,
  isolate: 3,
  storeless: 3,
  oneWay: 3,
  reset: 2,
  slowLink: 2,
  ambush: 10,
  outage: 2,
  slowStore: 2,
  slowBodies: 1,
  throttle: 1,
  refusals: 3,
  lostRequests: 2,
  lostAnswers: 4,
  lateLandings: 3,
  damagedReads: 1,
};

export const FAULT_KINDS: readonly FaultKind[] = Object.keys(WEIGHTS) as FaultKind[];
const CHOICES: readonly FaultKind[] = FAULT_KINDS.flatMap((kind) => Array.from({ length: WEIGHTS[kind] }, () => kind));

export function planFaults(random: SeededRandom, shape: PlanShape): PlannedFault[] {
  const plan: PlannedFault[] = [];
  for (let atMs = shape.beginMs + random.exponential(shape.everyMs); atMs < shape.endMs; ) {
    const fault = drawFault(random, shape);
    const durationMs = Math.min(drawDuration(random, fault, shape), shape.endMs - atMs);
    plan.push({ atMs, durationMs, fault });
    // Two that are away together come back to the same surprise.
    if (shape.acrossRetention && isAbsence(fault) && random.chance(0.3)) {
      const member = (fault.member + random.int(1, shape.memberCount - 1)) % shape.memberCount;
      const otherMs = durationMs + shape.sessionTimeoutMs * random.between(-1, 1);
      plan.push({ atMs: atMs + random.fraction(), durationMs: Math.max(1, otherMs), fault: { ...fault, member } });
    }
    // Who comes back after long is most in danger.
    if (shape.acrossRetention && isAbsence(fault) && fault.kind !== "crash" && random.chance(0.5)) {
      const backAtMs = atMs + durationMs - 1;
      const ambush: Fault = { ...drawAmbush(random, shape), member: fault.member };
      plan.push({ atMs: backAtMs, durationMs: shape.sessionTimeoutMs * 4, fault: ambush });
    }
    // At times one comes right after the other.
    atMs += random.exponential(random.chance(0.2) ? shape.everyMs / 10 : shape.everyMs);
  }
  return plan;
}

function drawFault(random: SeededRandom, shape: PlanShape): Fault {
  const { memberCount, sessionTimeoutMs } = shape;
  const kind = random.pick(CHOICES);
  const member = random.int(0, memberCount - 1);
  const other = (member + random.int(1, memberCount - 1)) % memberCount;
  switch (kind) {
    case "crash":
    case "stop":
    case "pause":
    case "suspend":
    case "isolate":
    case "storeless":
      return { kind, member };
    case "crashAll":
    case "rollingRestart":
    case "stepDown":
    case "outage":
      return { kind };
    case "ambush":
      return drawAmbush(random, shape);
    case "setWall": {
      const byMs = random.pick([1, 1, 60, 3600]) * 1000 * random.between(-2, 2);
      return { kind, member, byMs };
    }
    case "partition": {
      const members = random.shuffled(Array.from({ length: memberCount }, (_, index) => index));
      return { kind, side: members.slice(0, random.int(1, Math.floor(memberCount / 2))) };
    }
    case "oneWay":
    case "reset":
      return { kind, member, other };
    case "slowLink":
      return { kind, member, other, byMs: random.between(5, sessionTimeoutMs) };
    case "slowStore":
      return { kind, factor: random.pick([3, 10, 100]) };
    case "slowBodies":
      return { kind, bytesPerMs: random.pick([1, 10, 100]) };
    case "throttle":
      return { kind, perSecond: random.pick([1, 5, 20]) };
    case "refusals":
    case "lostRequests":
    case "lostAnswers":
      return { kind, rate: random.pick([0.1, 0.5, 0.9]) };
    case "damagedReads":
      return { kind, rate: random.pick([0.05, 0.3]) };
    case "lateLandings":
      return { kind, rate: random.pick([0.2, 0.8]), landMsMax: Math.min(LANDING_MS_MAX, sessionTimeoutMs * 8) };
  }
}

type Ambush = Extract<Fault, { kind: "ambush" }>;

function drawAmbush(random: SeededRandom, shape: PlanShape): Ambush {
  const then = random.pick(["crash", "pause", "pause", "suspend"] as const);
  return { ...drawAmbushedCall(random), then, forMs: drawAbsence(random, shape, random.chance(0.5)) };
}

/** Most of them are of epochs: what fencing is about. */
export function drawAmbushedCall(random: SeededRandom): Pick<Ambush, "kind" | "operation" | "of" | "moment"> {
  const moment = random.pick(["sent", "landed", "landed"] as const);
  if (random.chance(0.75)) {
    const operation = random.pick(["put", "put", "get", "list", "list"] as const);
    return { kind: "ambush", operation, of: "epochs", moment };
  }
  const operation = random.pick(["put", "put", "get", "head", "delete"] as const);
  return { kind: "ambush", operation, of: "others", moment };
}

type Absence = Extract<Fault, { kind: "crash" | "stop" | "pause" | "suspend" | "isolate" | "storeless" }>;

function isAbsence(fault: Fault): fault is Absence {
  return ABSENCES.includes(fault.kind);
}

const ABSENCES: readonly FaultKind[] = ["crash", "stop", "pause", "suspend", "isolate", "storeless"];

function drawDuration(random: SeededRandom, fault: Fault, shape: PlanShape): number {
  // Armed for so long.
  if (fault.kind === "ambush") return shape.everyMs * 2;
  return drawAbsence(random, shape, isAbsence(fault));
}

/** From a moment to several session time-outs; where asked for also longer than the retention, at times just so. */
function drawAbsence(random: SeededRandom, shape: PlanShape, isLong: boolean): number {
  const { sessionTimeoutMs, retentionMs, acrossRetention } = shape;
  if (acrossRetention && isLong && random.chance(0.5)) {
    return retentionMs * (random.chance(0.7) ? random.between(1, 1.2) : random.between(0.5, 1.8));
  }
  return sessionTimeoutMs * random.pick([0.05, 0.3, 0.8, 1.2, 2, 4]) * random.between(0.7, 1.3);
}

/** For people. */
export function describeFault({ atMs, durationMs, fault }: PlannedFault): string {
  const { kind, ...how } = fault;
  const details = Object.entries(how).map(
    ([name, value]) => `${name} ${typeof value === "number" ? Math.round(value * 100) / 100 : value}`,
  );
  return `${(atMs / 1000).toFixed(3)} s: ${kind} for ${(durationMs / 1000).toFixed(3)} s${details.length > 0 ? `, ${details.join(", ")}` : ""}`;
}

export function describePlan(plan: readonly PlannedFault[]): string {
  return plan.map(describeFault).join("\n");
}
