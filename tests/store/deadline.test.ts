import process from "node:process";
import { expect, it } from "vitest";
import { type Deadline, withDeadline } from "../../src/store/deadline.ts";
import { ManualClock } from "./manual-clock.ts";

const TIMED_OUT = new Error("timed out");

function begin(timeoutMs: number, signal?: AbortSignal) {
  const clock = new ManualClock();
  const work: { deadline?: Deadline; finish: (value: string) => void } = { finish: () => {} };
  const outcome = withDeadline({ clock, timeoutMs, signal, onTimeout: () => TIMED_OUT }, (deadline) => {
    work.deadline = deadline;
    return new Promise<string>((resolve) => {
      work.finish = resolve;
    });
  }).catch((error: unknown) => error);
  return { clock, work, outcome };
}

it("work that does not look at its signal is not waited for", async () => {
  const { clock, work, outcome } = begin(60);
  clock.advance(60);
  expect(await outcome).toBe(TIMED_OUT);
  expect(work.deadline?.signal.reason).toBe(TIMED_OUT);
});

it("a restart takes the place of the time before", async () => {
  const { clock, work, outcome } = begin(60);
  clock.advance(50);
  work.deadline?.restart(60);
  clock.advance(59);
  expect([work.deadline?.signal.aborted, clock.waitingMs]).toEqual([false, [1]]);
  clock.advance(1);
  expect(await outcome).toBe(TIMED_OUT);
});

it("when the call has ended, no timer and no listener stays", async () => {
  const controller = new AbortController();
  const { clock, work, outcome } = begin(60, controller.signal);
  work.finish("done");
  expect(await outcome).toBe("done");
  controller.abort(new Error("too late"));
  expect([work.deadline?.signal.aborted, clock.waitingMs]).toEqual([false, []]);
});

it("a restart after the end sets no timer", async () => {
  const { clock, work, outcome } = begin(60);
  work.finish("done");
  await outcome;
  work.deadline?.restart(10);
  expect(clock.waitingMs).toEqual([]);
});

it("many calls on one signal are no leak: the runtime does not warn of one", async () => {
  const warnings: string[] = [];
  const onWarning = ({ name }: Error) => warnings.push(name);
  process.on("warning", onWarning);
  const controller = new AbortController();
  const calls = Array.from({ length: 40 }, () => begin(60, controller.signal));
  for (const { work } of calls) work.finish("done");
  await Promise.all(calls.map(({ outcome }) => outcome));
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", onWarning);
  expect(warnings).toEqual([]);
});
