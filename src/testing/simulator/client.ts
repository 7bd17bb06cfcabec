/** Somebody who uses the cluster, one thing after another, and writes down what was asked and answered. */
import { defer } from "../../base/deferred.ts";
import { isClusterError } from "../../errors.ts";
import type { SyncLevel } from "../../node/syncing.ts";
import type { Db } from "../../sqlite/reader.ts";
import {
  type Outcome,
  READ_LEVELS,
  type ReadLevel,
  type ReadOperation,
  type Violation,
} from "../checkers/operation.ts";
import { CHECK_LOG_TABLE } from "../workloads/check-log.ts";
import { LIST_COUNT } from "../workloads/list-append.ts";
import type { RegisterReading } from "../workloads/registers.ts";
import { AbortedWrite, pickWork, type ReadChoice, type Reading, readWorkload } from "../workloads/workload.ts";
import { type ClientWork, send, type Written } from "./client-app.ts";
import type { Answer, Evidence } from "./evidence.ts";
import type { SimulatedMember } from "./member.ts";
import type { SimulatedProcess } from "./process.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { VirtualTime } from "./virtual-time.ts";

const REGISTER_COUNT = 2;
const TAIL_MAX = 1000;
/** How much longer it thinks when nothing goes wrong any more. */
const REST_FACTOR = 4;
/** A clock gains or loses at most this share. */
export const CLOCK_RATE_ERROR = 0.001;

export interface ClientParts {
  readonly time: VirtualTime;
  readonly random: SeededRandom;
  readonly members: readonly SimulatedMember[];
  readonly evidence: Evidence;
  readonly name: string;
  readonly thinkMs: number;
  /** Then it gives up waiting. */
  readonly patienceMs: number;
  /** A write was acknowledged, by this node. */
  onAcknowledged(id: string, epoch: number, node: string): void;
  /** A process was asked for something; the result is called when it has answered, whether anybody waits for it or not. */
  onAsked(process: SimulatedProcess, what: string): () => void;
  onViolation(violation: Violation): void;
}

/** The process that served it is gone, or the client waited long enough. */
class NoAnswer extends Error {}

export class Client {
  readonly #parts: ClientParts;
  #thinkMs: number;
  #isStopped = false;
  #writeCount = 0;
  #lastEpoch = 0;
  #seen: RegisterReading = { register: 0, value: null };
  #busy: Promise<void> = Promise.resolve();

  constructor(parts: ClientParts) {
    this.#parts = parts;
    this.#thinkMs = parts.thinkMs;
  }

  start(): void {
    this.#next();
  }

  /** From now on it asks for something more rarely. */
  rest(): void {
    this.#thinkMs = this.#parts.thinkMs * REST_FACTOR;
  }

  /** Resolves when it has ended what it was doing. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#busy;
  }

  /** Whether an operation is under way. */
  isBusy: boolean = false;

  #next(): void {
    const { time, random } = this.#parts;
    const thinkMs = random.chance(0.1) ? this.#thinkMs / 20 : this.#thinkMs;
    time.schedule(random.exponential(thinkMs), () => {
      if (this.#isStopped) return;
      this.isBusy = true;
      this.#busy = this.#operate().finally(() => {
        this.isBusy = false;
        this.#next();
      });
    });
  }

  async #operate(): Promise<void> {
    const { random } = this.#parts;
    const member = random.pick(this.#parts.members);
    if (random.chance(0.02)) await this.rollback(member);
    else if (random.chance(0.03)) await this.#writeNothing(member);
    else if (random.chance(0.025)) await this.readPast(member, random.int(0, member.node?.epoch.current ?? 0));
    else if (random.chance(0.55)) await this.write(member);
    else await this.read(member, random.pick(["any", ...READ_LEVELS]));
  }

  /** Gives whether it was acknowledged. */
  async write(member: SimulatedMember, work: ClientWork = this.#drawWork(this.#parts.random)): Promise<boolean> {
    const { name, evidence, time } = this.#parts;
    const id = `${name}.${++this.#writeCount}`;
    const { process, node } = member;
    if (process === undefined || node === undefined) return false;
    const { note, correct } = evidence.write({ client: name, id, invokedAtMs: time.nowMs, work });
    const answer = (outcome: Outcome, written: Partial<Written> = {}): Answer => {
      return { outcome, endedAtMs: this.#endedAt(outcome), node: node.uuid, ...written };
    };
    const acknowledged = (written: Written) => {
      this.#parts.onAcknowledged(id, written.epoch, written.node);
      return answer("ok", written);
    };
    const { patienceMs } = this.#parts;
    const sending = this.#ask(process, `write ${id}`, () => send(node, id, work, patienceMs));
    try {
      const written = await sending.inTime;
      this.#lastEpoch = Math.max(this.#lastEpoch, written.epoch);
      note(acknowledged(written));
      return true;
    } catch (error) {
      note(answer(outcomeOf(error)));
      // What it is told when it does not wait any more has to be true, too.
      if (error instanceof NoAnswer)
        sending.ever.then(
          (written) => correct(acknowledged(written)),
          (late) => correct(answer(outcomeOf(late))),
        );
      return false;
    }
  }

  /** Gives whether it was answered. */
  async read(member: SimulatedMember, level: ReadLevel): Promise<boolean> {
    const { random, name, evidence, time, thinkMs } = this.#parts;
    const { process, node } = member;
    if (process === undefined || node === undefined) return false;
    const atLeast = level === "atLeast" ? this.#lastEpoch : undefined;
    const maxStalenessMs = level === "maxStaleness" ? thinkMs * random.pick([1, 5, 20]) : undefined;
    // A clock that runs a little wrong measures a little wrong.
    const allowedMs = maxStalenessMs === undefined ? undefined : maxStalenessMs * (1 + CLOCK_RATE_ERROR) + 1;
    const began = { client: name, node: node.uuid, invokedAtMs: time.nowMs, level, atLeast, maxStalenessMs: allowedMs };
    const choice = drawChoice(random);
    const look = async () => {
      if (level !== "any") await node.sync(syncLevel(level, atLeast, maxStalenessMs));
      // Synchronous from here on: all of it is of one epoch.
      return { epoch: node.epoch.current, reading: readIfThere(node.db, choice) };
    };
    const done = (outcome: Outcome, epoch?: number, ids?: readonly string[]) => {
      const operation: ReadOperation = {
        ...began,
        type: "read",
        endedAtMs: this.#endedAt(outcome),
        outcome,
        epoch,
        ids,
      };
      evidence.operations.push(operation);
    };
    try {
      const { epoch, reading } = await this.#ask(process, `${level} read by ${name}`, look).inTime;
      done("ok", epoch, reading?.log.tail ?? []);
      this.#lastEpoch = Math.max(this.#lastEpoch, epoch);
      if (reading === undefined) return true;
      this.#seen = reading.register;
      evidence.readings.push({ epoch, reading, what: `${level} read by ${name} from ${member.name}` });
      if (level === "linearizable") this.#registerRead(began.invokedAtMs, epoch, reading.register);
      return true;
    } catch (error) {
      done(outcomeOf(error) === "not_written" ? "not_written" : "unknown");
      return false;
    }
  }

  /** Looks at an earlier epoch; gives whether it could. */
  async readPast({ process, node, name: where }: SimulatedMember, epoch: number): Promise<boolean> {
    const { random, name, evidence } = this.#parts;
    if (process === undefined || node === undefined) return false;
    const choice = drawChoice(random);
    const look = async () => {
      const past = await node.db.at(epoch);
      try {
        return readIfThere(past, choice);
      } finally {
        past.close();
      }
    };
    try {
      const reading = await this.#ask(process, `look of ${name} at epoch ${epoch}`, look, isOfDatabase).inTime;
      if (reading !== undefined)
        evidence.readings.push({ epoch, reading, what: `a look back by ${name} from ${where}` });
      return true;
    } catch {
      return false;
    }
  }

  /** Sets the database back by a few epochs; gives whether it could. */
  async rollback({ process, node }: SimulatedMember): Promise<boolean> {
    const { random, evidence } = this.#parts;
    if (process === undefined || node === undefined) return false;
    const to = node.epoch.current - random.int(1, 12);
    if (to < 1) return false;
    const sending = this.#ask(process, `rollback to ${to}`, () => node.rollback(to), isOfDatabase);
    sending.ever.then(
      (rollback) => evidence.rollbacks.push({ ...rollback, to }),
      // Whether it was written is in the history.
      () => {},
    );
    try {
      await sending.inTime;
      return true;
    } catch {
      return false;
    }
  }

  /** An epoch with nothing in it. */
  async #writeNothing({ process, node }: SimulatedMember): Promise<void> {
    if (process === undefined || node?.role.current !== "leader") return;
    try {
      const writing = this.#ask(process, "write of nothing", async () => await node.transaction(() => {}).durable);
      const { epoch } = await writing.inTime;
      this.#lastEpoch = Math.max(this.#lastEpoch, epoch);
    } catch {
      // There is nothing that could be lost.
    }
  }

  #drawWork(random: SeededRandom): ClientWork {
    if (random.chance(0.03)) return { kind: "large" };
    if (random.chance(0.03)) return { kind: "schema", table: `schema_${random.int(0, 5)}` };
    return pickWork(random, this.#seen);
  }

  /**
   * In the process, when it is ready for it; `inTime` gives up after a while, `ever` never settles if it is gone.
   *
   * @param isMistake tells errors that no fault explains
   */
  #ask<T>(
    process: SimulatedProcess,
    what: string,
    action: () => Promise<T>,
    isMistake: (error: unknown) => boolean = isNoRefusal,
  ): { readonly inTime: Promise<T>; readonly ever: Promise<T> } {
    const { time, patienceMs, onAsked, onViolation } = this.#parts;
    const { promise: ever, resolve, reject } = defer<T>();
    process.clock.soon(() => {
      const onAnswered = onAsked(process, what);
      action().then(resolve, reject).finally(onAnswered);
    });
    ever.catch((error: unknown) => {
      if (!isMistake(error)) return;
      const text = `${what} at ${process.name}: ${error instanceof Error ? error.stack : error}`;
      onViolation({ promise: "P2, P6", rule: "an error that no fault explains", text });
    });
    const inTime = new Promise<T>((settle, fail) => {
      const cancel = time.schedule(patienceMs, () => fail(new NoAnswer("no answer")));
      ever.then(settle, fail).finally(cancel);
    });
    return { inTime, ever };
  }

  #endedAt(outcome: Outcome): number {
    return outcome === "unknown" ? Number.POSITIVE_INFINITY : this.#parts.time.nowMs;
  }

  #registerRead(invokedAtMs: number, epoch: number, { register, value }: RegisterReading): void {
    const { name: client, time, evidence } = this.#parts;
    const answered = { client, register: String(register), invokedAtMs, endedAtMs: time.nowMs, outcome: "ok" } as const;
    evidence.registers.push({ epoch, operation: { ...answered, type: "read", value } });
  }
}

function drawChoice(random: SeededRandom): ReadChoice {
  return { list: random.int(0, LIST_COUNT - 1), register: random.int(0, REGISTER_COUNT - 1), tailMax: TAIL_MAX };
}

/** `undefined` before the first write. */
function readIfThere(db: Db, choice: ReadChoice): Reading | undefined {
  const hasLog = db.get("SELECT 1 FROM sqlite_schema WHERE name = ?", [CHECK_LOG_TABLE]) !== undefined;
  return hasLog ? db.snapshot((reads) => readWorkload(reads, choice)) : undefined;
}

function syncLevel(level: ReadLevel, atLeast: number | undefined, maxStalenessMs: number | undefined): SyncLevel {
  if (level === "atLeast") return { atLeast: atLeast ?? 0 };
  if (level === "maxStaleness") return { maxStalenessMs: maxStalenessMs ?? 0 };
  return "linearizable";
}

/** Neither the cluster's nor the client's fault: a mistake of ours, or a database that is not what it should be. */
function isOfDatabase(error: unknown): boolean {
  return !isClusterError(error) || error.code.startsWith("SQLITE_");
}

/** The same of reads and writes: nobody asks for what is invalid, and the store's objects are sound. */
function isNoRefusal(error: unknown): boolean {
  if (error instanceof AbortedWrite) return false;
  return isOfDatabase(error) || (isClusterError(error) && (error.kind === "invalid" || error.kind === "corrupt"));
}

/** What an error says of a write: only these kinds promise that nothing was written. */
function outcomeOf(error: unknown): Outcome {
  if (error instanceof AbortedWrite) return "not_written";
  if (!isClusterError(error)) return "unknown";
  const { kind } = error;
  return kind === "not_leader" ||
    kind === "fenced" ||
    kind === "unavailable" ||
    kind === "overloaded" ||
    kind === "closed"
    ? "not_written"
    : "unknown";
}
