/** Whether LIST tells what is there: in the order of the keys' bytes, from any key on, page by page, at once. */
import { snapshotKey, walKey } from "../../format/keys.ts";
import { LIST_LIMIT_MAX } from "../../store/call-checks.ts";
import { compareKeys } from "../../store/key-rules.ts";
import type { ObjectStore } from "../../store/store.ts";
import { type Check, type CheckParts, inParallel } from "./check.ts";
import type { DoctorFinding } from "./finding.ts";

/** As a cluster names its objects, and what other orders than that of the bytes would put elsewhere. */
const NAMES: readonly string[] = [
  walKey(9),
  snapshotKey(9),
  walKey(10),
  ".lbc/.last_snapshot",
  "A",
  "a!",
  "a-b",
  "a.b",
  "a/b",
  "a0",
  "\uffee",
  "\u{1f600}",
];

/** More than one page of S3 has. */
const MANY = 1050;
const MANY_IN_FLIGHT_MAX = 16;

const PAGE = 5;

/** Pages that a listing of what the doctor wrote may have at most. */
const PAGES_MAX = 1 + Math.ceil(MANY / PAGE);

type Fault = "missing" | "order" | "start_after" | "paging" | "gone";

const FAULTS: Readonly<Record<Fault, Pick<DoctorFinding, "meaning" | "advice" | "verdict">>> = {
  missing: {
    verdict: "bad",
    meaning: "a node that asks which epochs there are can miss the newest ones, and build on an old state",
    advice: "use a store whose LIST is strongly consistent",
  },
  order: {
    verdict: "bad",
    meaning: "nodes read the history in the order of its names: they would find gaps where there are none",
    advice: "use a store that lists in the order of the keys' bytes (S3 Express does not)",
  },
  start_after: {
    verdict: "bad",
    meaning: "nodes ask for what comes after an epoch: they would get what they did not ask for, or nothing",
    advice: "use a store that knows start-after of ListObjectsV2",
  },
  paging: {
    verdict: "bad",
    meaning: "a history of more than a page would be read in part",
    advice: "use a store that lists in pages as S3 does",
  },
  gone: {
    verdict: "warning",
    meaning: "a node sees history that the retention has deleted, and starts over when it cannot read it",
    advice: "look for a cache between this machine and the store",
  },
};

/** @param withMany whether more objects than a page has are written and deleted again */
export function listCheck(withMany: boolean): Check {
  return { name: "list", verdictIfFailed: "bad", run: (parts) => checkList(parts, withMany) };
}

async function checkList(parts: CheckParts, withMany: boolean): Promise<readonly DoctorFinding[]> {
  const faults = new Map<Fault, string>();
  const note = (fault: Fault, found: string) => {
    if (!faults.has(fault)) faults.set(fault, found);
  };
  await checkFew(parts, note);
  const many = withMany ? await checkMany(parts, note) : 0;
  const objects = NAMES.length + many;
  if (faults.size > 0) {
    return [...faults].map(([fault, found]) => ({ check: "list", ...FAULTS[fault], found, measured: { fault } }));
  }
  const skipped = withMany ? "" : " (more than a page was not tried)";
  const found = `${objects} objects in the order of their bytes, from any key on, in pages, right after each write${skipped}`;
  return [{ check: "list", verdict: "ok", found, measured: { objects } }];
}

type Note = (fault: Fault, found: string) => void;

async function checkFew({ store, scratch, signal, onStep }: CheckParts, note: Note): Promise<void> {
  const prefix = `${scratch.prefix}list/`;
  const written: string[] = [];
  for (const name of [...NAMES].reverse()) {
    const key = scratch.key(`list/${name}`);
    onStep(written.length, NAMES.length * 2);
    await store.put(key, new TextEncoder().encode(name), { signal });
    written.push(key);
    const listed = (await store.list(prefix, { signal })).objects.map((object) => object.key);
    const missing = written.filter((other) => !listed.includes(other));
    if (missing.length > 0) note("missing", `${missing.length} of ${written.length} objects were not listed`);
  }
  const ordered = [...written].sort(compareKeys);
  compare(ordered, await listAll(store, prefix, LIST_LIMIT_MAX, signal), "order", "the whole listing", note);
  compare(ordered, await listAll(store, prefix, PAGE, signal), "paging", `pages of ${PAGE}`, note);
  for (const [index, key] of ordered.entries()) {
    onStep(NAMES.length + index, NAMES.length * 2);
    const { objects } = await store.list(prefix, { startAfter: key, signal });
    const listed = objects.map((object) => object.key);
    compare(ordered.slice(index + 1), listed, "start_after", `what comes after ${JSON.stringify(key)}`, note);
  }
  const [gone = ""] = ordered;
  await store.delete(gone, { signal });
  const { objects } = await store.list(prefix, { signal });
  if (objects.some(({ key }) => key === gone)) note("gone", "an object was listed after its delete");
}

async function checkMany({ store, scratch, signal, onStep }: CheckParts, note: Note): Promise<number> {
  const prefix = `${scratch.prefix}many/`;
  const keys = Array.from({ length: MANY }, (_, index) => scratch.key(`many/${String(index).padStart(6, "0")}`));
  let written = 0;
  await inParallel(keys, MANY_IN_FLIGHT_MAX, async (key) => {
    await store.put(key, new TextEncoder().encode(key), { signal });
    onStep(++written, MANY);
  });
  compare(keys, await listAll(store, prefix, LIST_LIMIT_MAX, signal), "paging", `${MANY} objects`, note);
  await store.deleteMany(keys, { signal });
  const { objects } = await store.list(prefix, { signal });
  if (objects.length > 0) note("gone", `${objects.length} of ${MANY} objects were listed after their delete`);
  return MANY;
}

async function listAll(store: ObjectStore, prefix: string, limit: number, signal: AbortSignal): Promise<string[]> {
  const keys: string[] = [];
  for (let page = 0; page < PAGES_MAX; page++) {
    const { objects, more } = await store.list(prefix, { limit, signal, startAfter: keys.at(-1) });
    keys.push(...objects.map(({ key }) => key));
    if (!more || objects.length === 0) break;
  }
  return keys;
}

/** The same keys in another order are a fault of the order, whatever was looked at. */
function compare(expected: readonly string[], found: readonly string[], fault: Fault, what: string, note: Note): void {
  if (found.length === expected.length && found.every((key, index) => key === expected[index])) return;
  const sorted = [...found].sort(compareKeys);
  const isOrder = sorted.length === expected.length && sorted.every((key, index) => key === expected[index]);
  if (isOrder) note("order", `${what} did not come in the order of the keys' bytes`);
  else note(fault, `${what}: ${found.length} keys were listed where ${expected.length} belong`);
}
