/** Somebody who uses the cluster, one thing after another, and writes down what was asked and answered. */
import { Hono } from "hono";
import { defer } from "../../base/deferred.ts";
import { ClusterError, isClusterError } from "../../errors.ts";
import type { NodeEnv, UserApp } from "../../node/apps.ts";
import type { ClusterNode } from "../../node/node.ts";
import type { SyncLevel } from "../../node/syncing.ts";
import type { Db } from "../../sqlite/reader.ts";
import type { Operation, Outcome, ReadLevel, ReadOperation, WriteOperation } from "../checkers/operation.ts";
import type { RegisterOperation } from "../checkers/register-operation.ts";
import { CHECK_LOG_TABLE } from "../workloads/check-log.ts";
import type { ReadingAt } from "../workloads/check-readings.ts";
import { LIST_COUNT } from "../workloads/list-append.ts";
import type { RegisterReading } from "../workloads/registers.ts";
import {
  AbortedWrite,
  createWorkload,
  pickWork,
  type ReadChoice,
  type Reading,
  readWorkload,
  runWork,
  type Work,
} from "../workloads/workload.ts";
import type { SimulatedMember } from "./member.ts";
import type { SimulatedProcess } from "./process.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { VirtualTime } from "./virtual-time.ts";

const REGISTER_COUNT = 2;
const TAIL_MAX = 1000;
const LARGE_BYTES = 300_000;
const WRITE_PATH = "/write";
/** How much longer it thinks when nothing goes wrong any more. */
const REST_FACTOR = 4;
/** A clock gains or loses at most this share. */
export const CLOCK_RATE_ERROR = 0.001;

/** What a client asked for. */
interface AskedWrite {
  readonly client: string;
  readonly id: string;
  readonly invokedAtMs: number;
  readonly work: ClientWork;
}

/** What it was told. */
interface Answer extends Partial<Written> {
  readonly outcome: Outcome;
  readonly endedAtMs: number;
}

/** What clients leave behind. */
export class Evidence {
  readonly operations: Operation[] = [];
  readonly registers: RegisterOperation[] = [];
  readonly readings: ReadingAt[] = [];
  readonly works: Map<string, Work> = new Map();
  rollbacks: number = 0;

  /** Gives what notes its answer, and what corrects that when one comes after all to a client that did not wait. */
  write(asked: AskedWrite): { note(answer: Answer): void; correct(answer: Answer): void } {
    const { work, id, client } = asked;
    this.works.set(id, loggedWork(work));
    const places = { operation: -1, register: -1 };
    const put = (by: string, answer: Answer) => {
      const operation = writeOperation({ ...asked, client: by }, answer);
      if (places.operation < 0) places.operation = this.operations.length;
      this.operations[places.operation] = operation;
      if (work.kind !== "swap") return;
      if (places.register < 0) places.register = this.registers.length;
      this.registers[places.register] = registerWrite(operation, work, answer.swapped);
    };
    return {
      note: (answer) => put(client, answer),
      // Meanwhile the client has done other things.
      correct: (answer) => put(`${client}, late ${id}`, answer),
    };
  }
}

function writeOperation({ client, id, invokedAtMs }: AskedWrite, answer: Answer): WriteOperation {
  const { outcome, endedAtMs, node, epoch } = answer;
  return { type: "write", client, id, node, invokedAtMs, endedAtMs, outcome, epoch };
}

function registerWrite(
  { client, invokedAtMs, endedAtMs, outcome, id: value }: WriteOperation,
  { register, expected }: Extract<Work, { kind: "swap" }>,
  swapped: boolean | undefined,
): RegisterOperation {
  const base = { client, register: String(register), invokedAtMs, endedAtMs, outcome, value };
  return expected === undefined ? { ...base, type: "write" } : { ...base, type: "cas", expected, swapped };
}

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
}

/** What the members serve: writes that another one forwards. */
export function clientApp(): UserApp {
  const app = new Hono<NodeEnv>();
  app.post(WRITE_PATH, async (c) => {
    const { id, work } = await c.req.json<{ id: string; work: ClientWork }>();
    const { epoch, swapped } = await write(c.var.node, id, work);
    return c.json({ epoch, swapped, node: c.var.node.uuid });
  });
  return app;
}

/** What clients write, and what only makes epochs of another size. */
type ClientWork = Work | { readonly kind: "large" } | { readonly kind: "schema"; readonly table: string };

/** What of it the workload's tables show. */
function loggedWork(work: ClientWork): Work {
  return work.kind === "large" || work.kind === "schema" ? { kind: "log" } : work;
}

interface Written {
  readonly epoch: number;
  readonly swapped: boolean | undefined;
  readonly node: string;
}

async function write(node: ClusterNode, id: string, work: ClientWork): Promise<Omit<Written, "node">> {
  const ack = node.transaction((tx) => {
    if (tx.get("SELECT 1 FROM sqlite_schema WHERE name = ?", [CHECK_LOG_TABLE]) === undefined) createWorkload(tx);
    if (work.kind === "schema") {
      tx.exec(`CREATE TABLE IF NOT EXISTS ${work.table} (key TEXT PRIMARY KEY, value) WITHOUT ROWID`);
      tx.run(`INSERT INTO ${work.table} VALUES (?, 1)`, [id]);
    } else if (work.kind === "large") {
      tx.exec("CREATE TABLE IF NOT EXISTS large (id TEXT, body BLOB); DELETE FROM large");
      tx.run("INSERT INTO large VALUES (?, zeroblob(?))", [id, LARGE_BYTES]);
    }
    return runWork(tx, id, loggedWork(work));
  });
  const { epoch } = await ack.durable;
  return { epoch, swapped: ack.value };
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
    if (random.chance(0.02)) await this.#rollback(member);
    else if (random.chance(0.03)) await this.#writeNothing(member);
    else if (random.chance(0.025)) await this.readPast(member, random.int(0, member.node?.epoch.current ?? 0));
    else if (random.chance(0.55)) await this.write(member);
    else await this.read(member, random.pick(["any", "any", "atLeast", "maxStaleness", "linearizable"]));
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
    const sending = this.#ask(process, () => this.#send(node, id, work));
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
      const { epoch, reading } = await this.#ask(process, look).inTime;
      done("ok", epoch, reading?.log.tail ?? []);
      this.#lastEpoch = Math.max(this.#lastEpoch, epoch);
      if (reading === undefined) return true;
      this.#seen = reading.register;
      evidence.readings.push({ epoch, reading, what: `${level} read by ${name} from ${member.name}` });
      if (level === "linearizable") this.#registerRead(began.invokedAtMs, reading.register);
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
      const reading = await this.#ask(process, look).inTime;
      if (reading !== undefined)
        evidence.readings.push({ epoch, reading, what: `a look back by ${name} from ${where}` });
      return true;
    } catch {
      return false;
    }
  }

  async #rollback(member: SimulatedMember): Promise<void> {
    const { random, evidence } = this.#parts;
    const { process, node } = member;
    if (process === undefined || node === undefined) return;
    const target = node.epoch.current - random.int(1, 12);
    if (target < 1) return;
    try {
      await this.#ask(process, () => node.rollback(target)).inTime;
      evidence.rollbacks++;
    } catch {
      // Whether it was written is in the history.
    }
  }

  /** An epoch with nothing in it. */
  async #writeNothing({ process, node }: SimulatedMember): Promise<void> {
    if (process === undefined || node?.role.current !== "leader") return;
    try {
      const { epoch } = await this.#ask(process, async () => await node.transaction(() => {}).durable).inTime;
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

  async #send(node: ClusterNode, id: string, work: ClientWork): Promise<Written> {
    if (node.role.current === "leader") return { ...(await write(node, id, work)), node: node.uuid };
    const { patienceMs } = this.#parts;
    const body = JSON.stringify({ id, work });
    const response = await node.leaderClient.fetch(WRITE_PATH, { method: "POST", body, timeoutMs: patienceMs });
    const answer = (await response.json()) as Written & { kind?: string; error?: string };
    if (response.ok) return answer;
    // A node that is not the leader answers so, and a leader with the error of its transaction.
    const kind = (answer.kind ?? (response.status === 503 ? "not_leader" : "outcome_unknown")) as ClusterError["kind"];
    throw new ClusterError(kind, "answered", `${response.status}: ${JSON.stringify(answer)}`);
  }

  /** In the process, when it is ready for it; `inTime` gives up after a while, `ever` never settles if it is gone. */
  #ask<T>(
    process: SimulatedProcess,
    action: () => Promise<T>,
  ): { readonly inTime: Promise<T>; readonly ever: Promise<T> } {
    const { time, patienceMs } = this.#parts;
    const { promise: ever, resolve, reject } = defer<T>();
    process.clock.soon(() => {
      action().then(resolve, reject);
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

  #registerRead(invokedAtMs: number, { register, value }: RegisterReading): void {
    const { name: client, time, evidence } = this.#parts;
    const times = { invokedAtMs, endedAtMs: time.nowMs };
    evidence.registers.push({ type: "read", client, register: String(register), ...times, outcome: "ok", value });
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
