/** Makes what a plan says go wrong, and sets it right again. */
import type { Fault, PlannedFault } from "./fault-plan.ts";
import type { SimulatedMember } from "./member.ts";
import type { SimulatedNetwork } from "./network.ts";
import type { SimulatedProcess } from "./process.ts";
import type { ObservedCall } from "./store.ts";
import type { VirtualTime } from "./virtual-time.ts";
import { isStoreFault, type StoreWeather } from "./weather.ts";

/** Between the restarts of a rolling restart. */
const ROLLING_STEP_SHARE = 0.2;
/** By which a wall clock may be wrong in the end. */
const CLOCK_ERROR_MS_MAX = 10_000;

export interface FaultParts {
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly weather: StoreWeather;
  readonly members: readonly SimulatedMember[];
  readonly callWatchers: Set<(call: ObservedCall) => void>;
  /** From now on processes begin with clocks that are not far off. */
  onHealed(): void;
  onFault(fault: Fault, phase: "begins" | "ends"): void;
  /** Something that waits for the node failed. */
  onError(error: unknown): void;
}

export class Faults {
  readonly #parts: FaultParts;
  readonly #ending = new Set<() => void>();
  /** Processes whose monotonic clock stood still once. */
  readonly #suspended = new WeakSet<SimulatedProcess>();

  constructor(parts: FaultParts) {
    this.#parts = parts;
  }

  schedule(plan: readonly PlannedFault[]): void {
    for (const planned of plan) this.#parts.time.schedule(planned.atMs, () => this.#begin(planned));
  }

  /** Nothing is wrong any more: what stands still goes on, what is down starts. */
  healAll(): void {
    for (const end of [...this.#ending]) end();
    this.#parts.onHealed();
    for (const member of this.#parts.members) {
      this.#setRight(member);
      member.start();
    }
  }

  /** Nodes whose clocks are far apart do not talk to each other. */
  #setRight(member: SimulatedMember): void {
    const { process } = member;
    const errorMs = process?.wallErrorMs ?? 0;
    if (process === undefined || Math.abs(errorMs) < CLOCK_ERROR_MS_MAX) return;
    if (errorMs > 0 && this.#suspended.has(process)) member.crash();
    else process.setWall(-errorMs);
  }

  #begin({ fault, durationMs }: PlannedFault): void {
    const { time, onFault } = this.#parts;
    onFault(fault, "begins");
    const undo = this.#apply(fault, durationMs);
    const end = () => {
      if (!this.#ending.delete(end)) return;
      undo();
      onFault(fault, "ends");
    };
    this.#ending.add(end);
    time.schedule(durationMs, end);
  }

  /** Gives what ends it. */
  #apply(fault: Fault, durationMs: number): () => void {
    const { network, weather, members } = this.#parts;
    if (isStoreFault(fault)) {
      weather.begin(fault);
      return () => weather.end(fault);
    }
    switch (fault.kind) {
      case "crash":
        return this.#crash(this.#member(fault.member));
      case "stop": {
        const member = this.#member(fault.member);
        this.#stop(member);
        return () => this.#startAgain(member);
      }
      case "pause":
      case "suspend":
        return this.#pause(this.#member(fault.member).process, fault.kind);
      case "ambush":
        return this.#ambush(fault);
      case "crashAll":
        for (const member of members) member.crash();
        return () => members.map((member) => member.start());
      case "rollingRestart":
        for (const [index, member] of members.entries())
          this.#restartLater(member, index * durationMs * ROLLING_STEP_SHARE);
        return () => {};
      case "stepDown":
        this.#stepDown();
        return () => {};
      case "setWall":
        this.#setWall(this.#member(fault.member).process, fault.byMs);
        return () => {};
      case "partition":
        return this.#cut((from, to) => fault.side.includes(from) !== fault.side.includes(to));
      case "isolate":
        return this.#cut((from, to) => from === fault.member || to === fault.member);
      case "oneWay":
        return this.#cut((from, to) => from === fault.member && to === fault.other);
      case "reset":
        network.reset(this.#host(fault.member), this.#host(fault.other));
        return () => {};
      case "slowLink": {
        const [host, other] = [this.#host(fault.member), this.#host(fault.other)];
        network.slow(host, other, fault.byMs);
        network.slow(other, host, fault.byMs);
        return () => {
          network.slow(host, other, 0);
          network.slow(other, host, 0);
        };
      }
    }
  }

  #member(index: number): SimulatedMember {
    return this.#parts.members[index] as SimulatedMember;
  }

  #host(index: number): string {
    return this.#member(index).host;
  }

  #stop(member: SimulatedMember): void {
    member.stop().catch((error: unknown) => this.#parts.onError(error));
  }

  /** It may still be about to leave. */
  #startAgain(member: SimulatedMember): void {
    member.process?.resume();
    member.start();
  }

  #restartLater(member: SimulatedMember, delayMs: number): void {
    this.#parts.time.schedule(delayMs, () => {
      if (member.process?.state !== "running") return;
      this.#stop(member);
      member.start();
    });
  }

  #pause(process: SimulatedProcess | undefined, kind: "pause" | "suspend"): () => void {
    if (process === undefined) return () => {};
    if (kind === "suspend") {
      process.suspend();
      this.#suspended.add(process);
    } else {
      process.pause();
    }
    this.#parts.network.silenced();
    return () => process.resume();
  }

  /** Gives what calls it off; once it has struck it ends by itself, or with all others. */
  #ambush({ operation, of, moment, then, forMs, member: victim }: Extract<Fault, { kind: "ambush" }>): () => void {
    const { callWatchers, members, time } = this.#parts;
    const strike = (call: ObservedCall) => {
      if (call.operation !== operation || call.moment !== moment || call.from.state !== "running") return;
      if (operation !== "list" && operation !== "delete" && call.key.endsWith(".wal") !== (of === "epochs")) return;
      const member = members.find(({ process }) => process === call.from);
      if (member === undefined || (victim !== undefined && member !== members[victim])) return;
      callWatchers.delete(strike);
      const undo = then === "crash" ? this.#crash(member) : this.#pause(call.from, then);
      const end = () => {
        if (this.#ending.delete(end)) undo();
      };
      this.#ending.add(end);
      time.schedule(forMs, end);
    };
    callWatchers.add(strike);
    return () => callWatchers.delete(strike);
  }

  #crash(member: SimulatedMember): () => void {
    member.crash();
    return () => member.start();
  }

  #stepDown(): void {
    const leader = this.#parts.members.find(({ node, process }) => process?.state === "running" && node?.isLeading);
    const stepping = () => leader?.node?.stepDown({ timeoutMs: 60_000 }).catch(() => {});
    leader?.process?.clock.soon(() => void stepping());
  }

  /** A machine that was suspended shows it by its wall clock (C1 of docs/protocol.md): that is not set back. */
  #setWall(process: SimulatedProcess | undefined, byMs: number): void {
    if (process === undefined || (byMs < 0 && this.#suspended.has(process))) return;
    process.setWall(byMs);
  }

  #cut(isCut: (from: number, to: number) => boolean): () => void {
    const { network, members } = this.#parts;
    const cut: [string, string][] = [];
    for (const [from, { host }] of members.entries()) {
      for (const [to, { host: other }] of members.entries()) {
        if (from === to || !isCut(from, to) || network.cutSinceMs(host, other) !== undefined) continue;
        network.cut(host, other);
        cut.push([host, other]);
      }
    }
    return () => {
      for (const [host, other] of cut) network.mend(host, other);
    };
  }
}
