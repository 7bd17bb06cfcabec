/** Whether every kind of request works at all: what is missing is named once, not by every later check. */
import type { CallOptions } from "../../store/store.ts";
import type { Check, CheckParts } from "./check.ts";
import { failedFinding } from "./failure.ts";
import type { DoctorFinding } from "./finding.ts";

interface Step {
  readonly name: string;
  readonly needs: string;
  run(parts: CheckParts, options: CallOptions): Promise<unknown>;
}

const BODY = new TextEncoder().encode("lbc doctor");

const STEPS: readonly Step[] = [
  {
    name: "list",
    needs: "nodes list the bucket to find the history",
    run: ({ store, scratch }, options) => store.list(scratch.prefix, { ...options, limit: 1 }),
  },
  {
    name: "write",
    needs: "every epoch is written to the bucket",
    run: ({ store, scratch }, options) => store.put(scratch.key("access/a"), BODY, options),
  },
  {
    name: "read",
    needs: "every node reads the history",
    run: ({ store, scratch }, options) => store.get(scratch.key("access/a"), options),
  },
  {
    name: "stat",
    needs: "a node that joins asks for the age of the newest epoch",
    run: ({ store, scratch }, options) => store.head(scratch.key("access/a"), options),
  },
  {
    name: "delete",
    needs:
      "a leader whose epoch does not belong to the history deletes it, and history older than the retention is deleted",
    run: ({ store, scratch }, options) => store.delete(scratch.key("access/a"), options),
  },
  {
    name: "delete many",
    needs: "history older than the retention is deleted a thousand objects at a time",
    run: ({ store, scratch }, options) => store.deleteMany([scratch.key("access/a")], options),
  },
];

export const accessCheck: Check = { name: "access", verdictIfFailed: "bad", run: tryEveryRequest };

async function tryEveryRequest(parts: CheckParts): Promise<readonly DoctorFinding[]> {
  for (const [index, step] of STEPS.entries()) {
    parts.onStep(index, STEPS.length);
    try {
      await step.run(parts, { signal: parts.signal });
    } catch (error) {
      return [failedFinding("access", "bad", error, `${step.needs}: without it there is no cluster here`)];
    }
  }
  const requests = STEPS.map(({ name }) => name);
  return [{ check: "access", verdict: "ok", found: `works: ${requests.join(", ")}`, measured: { requests } }];
}
