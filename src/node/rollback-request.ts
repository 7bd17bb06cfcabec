/**
 * A rollback that another node asks the leader for. The answer begins at once, so that whether somebody leads is known
 * soon, and ends with the outcome, which may take as long as reading the database: `{"done"}` or `{"failed"}`. A node
 * that gives up or is gone ends a rollback that is not sealed yet.
 */
import { z } from "zod";
import { ClusterError, type ErrorKind, errorMessage, isClusterError } from "../errors.ts";
import type { Point } from "../history/point.ts";
import type { MemberFetch } from "./member-request.ts";
import { describePoint, type Rollback, type RollbackOptions } from "./rollback.ts";
import { type WaitLimits, withLimits } from "./waiting.ts";

export const ROLLBACK_PATH = "/.lbc/rollback";
const HTTP_OK = 200;

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const doneShape: z.ZodType<Rollback> = z.object({ from: count, to: count, epoch: count, pages: count });
/** All kinds, by the compiler's word. */
const KINDS: Readonly<Record<ErrorKind, true>> = {
  not_leader: true,
  unavailable: true,
  overloaded: true,
  fenced: true,
  outcome_unknown: true,
  invalid: true,
  corrupt: true,
  closed: true,
};
/** As `ClusterError.toJSON` gives it. */
const failedShape = z.object({
  error: z.string(),
  kind: z.custom<ErrorKind>((kind) => typeof kind === "string" && Object.hasOwn(KINDS, kind)),
  code: z.string(),
  details: z.record(z.string(), z.unknown()),
});
const answerShape = z.union([z.object({ done: doneShape }), z.object({ failed: failedShape })]);

/** The leader's side: runs the rollback, its signal aborted when nobody waits for the answer any more. */
export function rollbackAnswer(run: (signal: AbortSignal) => Promise<Rollback>): ReadableStream<Uint8Array> {
  const gone = new AbortController();
  return new ReadableStream<Uint8Array>({
    start(controller) {
      const end = (answer: unknown) => {
        if (gone.signal.aborted) return;
        controller.enqueue(new TextEncoder().encode(JSON.stringify(answer)));
        controller.close();
      };
      run(gone.signal).then(
        (done) => end({ done }),
        (error: unknown) => end({ failed: describeError(error) }),
      );
    },
    cancel() {
      gone.abort(new ClusterError("unavailable", "asker_gone", "the node that asked for the rollback gave it up"));
    },
  });
}

function describeError(error: unknown): unknown {
  if (isClusterError(error)) return error.toJSON();
  return new ClusterError("unavailable", "rollback_failed", errorMessage(error)).toJSON();
}

/**
 * The other side. The request is sent once: a lost answer leaves the outcome unknown.
 *
 * @throws ClusterError that of the leader, `unavailable`/`no_leader`, `outcome_unknown`; the signal's reason
 */
export async function askRollback(
  fetch: MemberFetch,
  point: Point,
  { timeoutMs, signal }: RollbackOptions,
  { clock, epoch }: Pick<WaitLimits, "clock" | "epoch">,
): Promise<Rollback> {
  const what = `rollback to ${describePoint(point)}`;
  const beganMs = clock.monotonicMs();
  const givenUp = new AbortController();
  const response = await fetch(ROLLBACK_PATH, {
    method: "POST",
    body: JSON.stringify({ point }),
    headers: { "content-type": "application/json" },
    authenticate: true,
    signal: signal === undefined ? givenUp.signal : AbortSignal.any([signal, givenUp.signal]),
    bodyTimeoutMs: Number.POSITIVE_INFINITY,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  const leftMs = timeoutMs === undefined ? undefined : timeoutMs - (clock.monotonicMs() - beganMs);
  try {
    let text = "";
    await withLimits({ what, timeoutMs: leftMs, signal, clock, epoch }, async () => {
      text = await response.text();
    });
    return outcomeOf(what, response.status, text);
  } catch (error) {
    givenUp.abort(error);
    const isLate = isClusterError(error) && error.code === "wait_timeout";
    if (isClusterError(error) && !isLate) throw error;
    if (signal?.aborted) throw signal.reason;
    throw unsettled(what, isLate ? `not within ${timeoutMs} ms` : errorMessage(error), error);
  }
}

function outcomeOf(what: string, status: number, text: string): Rollback {
  if (status !== HTTP_OK) {
    throw new ClusterError("unavailable", "request_refused", `${what}: the leader answered ${status}: ${text}`, {
      status,
    });
  }
  const { data } = answerShape.safeParse(JSON.parse(text));
  if (data === undefined) throw unsettled(what, "it answered something else", undefined);
  if ("done" in data) return data.done;
  const { error, kind, code, details } = data.failed;
  throw new ClusterError(kind, code, error, details);
}

function unsettled(what: string, why: string, cause: unknown): ClusterError {
  return new ClusterError(
    "outcome_unknown",
    "rollback_unsettled",
    `${what}: the leader has not told its outcome: ${why}; see whether the row "rollback" of a later epoch names it`,
    {},
    cause === undefined ? undefined : { cause },
  );
}
