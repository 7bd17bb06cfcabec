/** The life of a write: src/protocol/commit.ts, and who carries it out. */
import { type Mutant, mutant } from "../mutant.ts";

const DECIDES = "src/protocol/commit.ts";
const ASKS = "src/node/epoch-requests.ts";
const PROTOCOL = { test: "tests/protocol/commit.test.ts" };
const NODE = { test: "tests/node/commit.test.ts" };
const SIMULATOR = { sim: { seeds: 200 } };
const ABSENCES = { sim: { seeds: 200, profile: "absence" } };

const decides = (find: string, replace: string) => ({ file: DECIDES, find, replace });
const asks = (find: string, replace: string) => ({ file: ASKS, find, replace });

/** In the order of an epoch's life. Names in capitals are those of docs/model/fencing.pml. */
export const COMMIT_MUTANTS: readonly Mutant[] = [
  mutant(
    "acknowledge-before-put",
    "P1",
    "ACKNOWLEDGE_BEFORE_PUT: a write is acknowledged when its PUT begins.",
    asks(
      "    const { store } = this.#parts;\n    store.put(",
      '    const { store } = this.#parts;\n    queueMicrotask(() => this.#answer({ type: "putAnswered", outcome: "created" }));\n    store.put(',
    ),
    [SIMULATOR, NODE],
  ),
  mutant(
    "put-unconditionally",
    "P2",
    "An epoch overwrites whatever is at its number.",
    asks("{ ifAbsent: true, signal: this.#signal }", "{ ifAbsent: false, signal: this.#signal }"),
    [SIMULATOR, NODE, { test: "tests/node/election.test.ts" }],
  ),
  mutant(
    "put-cut-short",
    "P1",
    "Only the first 2 MiB of an epoch are uploaded, as the original did.",
    asks("store.put(walKey(epoch), wal.bytes,", "store.put(walKey(epoch), wal.bytes.subarray(0, 2 * 1024 * 1024),"),
    [{ test: "tests/node/commit.test.ts", name: "MiB in one transaction" }],
  ),
  mutant(
    "large-put-aborts",
    "P1",
    "The upload of an epoch of more than 5 MiB aborts, as in the original.",
    asks(
      "    const { store } = this.#parts;\n    store.put(",
      "    const { store } = this.#parts;\n    if (wal.bytes.length > 5 * 1024 * 1024) return;\n    store.put(",
    ),
    [{ test: "tests/node/commit.test.ts", name: "MiB in one transaction" }],
  ),
  mutant(
    "exists-is-ours",
    "P1",
    "EXISTS_IS_OURS: 412 counts as success, and nothing is read back.",
    decides(
      'return resume(state, "readingBack", { ...phase.attempt, failures: 0 });',
      "return created(state, phase.attempt, settings, moment);",
    ),
    [SIMULATOR, PROTOCOL],
  ),
  mutant(
    "exists-is-fenced",
    "P6",
    "EXISTS_IS_FENCED: 412 counts as fencing, though it may be our own PUT whose answer was lost.",
    decides(
      'return resume(state, "readingBack", { ...phase.attempt, failures: 0 });',
      'return end(state, "fenced", "notWritten", false);',
    ),
    [SIMULATOR, PROTOCOL, NODE],
  ),
  mutant(
    "timeout-is-not-written",
    "P6",
    "TIMEOUT_IS_NOT_WRITTEN: a failed PUT, also a time-out, ends the leadership and counts as not written.",
    decides(
      "      return pause(\n        state,\n        isFirstFailure(",
      '      if (event.outcome === "failed") return end(state, "fenced", "notWritten", false);\n      return pause(\n        state,\n        isFirstFailure(',
    ),
    [SIMULATOR, PROTOCOL, NODE],
  ),
  mutant(
    "failed-put-never-read-back",
    "P3",
    "A leader whose PUTs are refused repeats them for ever and never learns that another one leads.",
    decides('isFirstFailure(state, phase.attempt) ? "putting" : "readingBack",', '"putting",'),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "read-back-compares-lengths",
    "P2",
    "An object of the same length counts as ours.",
    asks("if (equalBytes(bytes, ours)) return", "if (bytes.length === ours.length) return"),
    [{ test: "tests/node/election.test.ts" }, NODE, SIMULATOR],
  ),
  mutant(
    "damaged-read-back-is-other",
    "P6",
    "Our own object, damaged on its way back, counts as another's.",
    asks("  parseWal(bytes, key);\n", ""),
    [{ test: "tests/node/chaos.test.ts", name: "damaged when it is read back" }],
  ),
  mutant(
    "no-audit",
    "P1",
    "NO_AUDIT: after a pause the store is not asked for later epochs.",
    decides("if (elapsedMs(state.provenAt, moment) > settings.sessionTimeoutMs)", "if (!state.provenAt)"),
    [ABSENCES, PROTOCOL, NODE],
  ),
  mutant(
    "audit-by-one-clock",
    "P5",
    "The pause is measured by the monotonic clock alone, which stands still while a machine is suspended.",
    decides(
      "if (elapsedMs(state.provenAt, moment) > settings.sessionTimeoutMs)",
      "if (moment.nowMs - state.provenAt.ms > settings.sessionTimeoutMs)",
    ),
    [ABSENCES, PROTOCOL],
  ),
  mutant(
    "no-audit-after-read-back",
    "P1",
    "An object that was read back as ours is acknowledged without the audit.",
    decides('if (event.found === "ours") return created(', 'if (event.found === "ours") return acknowledged('),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "failed-audit-is-none",
    "P1",
    "An audit that got no answer counts as one that found nothing.",
    decides(
      'return pause(state, "auditing", attempt, settings, moment);',
      "return acknowledged(state, attempt, settings, moment);",
    ),
    [PROTOCOL, NODE, SIMULATOR],
  ),
  mutant(
    "audit-ignores-gap",
    "P1",
    "An epoch that history has deleted and a paused leader has created again is acknowledged.",
    decides(
      'return end(state, "fenced", fateOfOther(attempt, moment), true);',
      "return acknowledged(state, attempt, settings, moment);",
    ),
    [ABSENCES, PROTOCOL, NODE],
  ),
  mutant(
    "audit-denies-successor",
    "P6",
    "An epoch of ours that another leader has built upon is reported as not written.",
    decides(
      '      const ended = end(state, "fenced", "acknowledged", false);',
      '      return end(state, "fenced", "notWritten", false);\n      const ended = end(state, "fenced", "acknowledged", false);',
    ),
    [PROTOCOL, NODE, SIMULATOR],
  ),
  mutant(
    "audit-untold-is-not-written",
    "P6",
    "Where later epochs do not tell whether they build on ours, it is reported as not written.",
    decides(
      'case "unknown":\n      return end(state, "fenced", "unknown", false);',
      'case "unknown":\n      return end(state, "fenced", "notWritten", false);',
    ),
    [PROTOCOL],
  ),
  mutant(
    "audit-believes-any-next",
    "P1",
    "A later epoch counts as built on ours, whatever its chain says.",
    asks(
      'return answer === "yes" ? "successor" : answer === "no" ? "withoutUs" : "unknown";',
      'return answer === "yes" ? "successor" : "successor";',
    ),
    [NODE, SIMULATOR],
  ),
  mutant(
    "listing-proves-a-gap",
    "P1",
    "LISTING_TELLS_A_GAP: an epoch that a listing lacks counts as trimmed, though it may have been created meanwhile.",
    asks(
      'if (newest === undefined) return "none";\n',
      'if (newest === undefined) return "none";\n    if ((await listLaterEpochs(store, epoch, this.#signal))[0] !== epoch + 1) return "withoutUs";\n',
    ),
    [{ test: "tests/node/audit-race.test.ts" }],
  ),
  mutant(
    "gap-so-soon-is-believed",
    "P1",
    "A gap makes us delete our epoch even if nothing can have been trimmed yet.",
    decides(
      'if (elapsedMs(state.provenAt, moment) <= TRIM_AGE_MIN_MS) return end(state, "fenced", "unknown", false);\n',
      "",
    ),
    [PROTOCOL],
  ),
  mutant(
    "unreadable-is-read-for-ever",
    "P10",
    "A leader that finds what nobody can read at its number never ends.",
    decides("if (count >= UNREADABLE_MAX)", "if (count < 0)"),
    [PROTOCOL],
  ),
  mutant(
    "audit-of-the-last-is-none",
    "P1",
    "The last epoch that was listed, and is gone when it is asked for, counts as never having been there.",
    asks('? "withoutUs" : "failed";', '? "withoutUs" : "none";'),
    [{ test: "tests/node/audit-race.test.ts" }],
  ),
  mutant(
    "audit-trimmed-meanwhile-is-none",
    "P1",
    "An epoch that is listed, and gone when it is asked for, counts as never having been there.",
    asks(
      'if (next === undefined) return newest > epoch + 1 ? "withoutUs" : "failed";',
      'if (next === undefined) return "none";',
    ),
    [{ test: "tests/node/audit-race.test.ts" }, SIMULATOR],
  ),
  mutant(
    "other-is-not-written",
    "P6",
    "OTHER_IS_NOT_WRITTEN: other bytes at the number always mean that ours were not written, however long ago.",
    decides(
      'return elapsedMs(attempt.began, moment) > TRIM_AGE_MIN_MS ? "unknown" : "notWritten";',
      'return attempt.epoch < 0 ? "unknown" : "notWritten";',
    ),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "late-is-unseen",
    "P6",
    "LATE_IS_UNSEEN: how long ago the first PUT was is told by the monotonic clock alone.",
    decides(
      "return elapsedMs(attempt.began, moment) > TRIM_AGE_MIN_MS ?",
      "return moment.nowMs - attempt.began.ms > TRIM_AGE_MIN_MS ?",
    ),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "fenced-deletes",
    "P1",
    "FENCED_DELETES: who was fenced deletes the epoch, whosever it is.",
    decides(
      'return end(state, "fenced", fateOfOther(phase.attempt, moment), false);',
      'return end(state, "fenced", fateOfOther(phase.attempt, moment), true);',
    ),
    [PROTOCOL, NODE, SIMULATOR],
  ),
  mutant(
    "proof-by-answer",
    "P1",
    "What an epoch proves counts from its answer, not from the beginning of its PUT.",
    decides(
      "    provenAt: attempt.began,\n    sealFailures: 0,",
      "    provenAt: instantOf(moment),\n    sealFailures: 0,",
    ),
    [PROTOCOL],
  ),
  mutant(
    "two-puts-at-once",
    "P2",
    "The next epoch is sealed while one is under way.",
    decides('if (state.phase.name !== "idle") return', 'if (state.phase.name === "ended") return'),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "silent-leader-accepts",
    "P3",
    "A leader takes transactions though the store has not answered for a session time-out.",
    decides(
      " && nowMs - state.provenAt.ms <= settings.sessionTimeoutMs;",
      " && nowMs <= Number.MAX_VALUE && settings !== undefined;",
    ),
    [PROTOCOL, NODE],
  ),
  mutant(
    "step-down-keeps-leader-row",
    "P3",
    "The last epoch of who steps down still names it as the leader.",
    decides('const leader = isLast ? "remove" : state.leading', "const leader = state.leading"),
    [PROTOCOL],
  ),
  mutant(
    "write-waits-for-heartbeat",
    "P10",
    "A write waits for the next heartbeat, as in the original, which wrote once a second.",
    decides(
      "state.pending ? budgetReadyAtMs(state.budget, settings.budget, nowMs) : Number.POSITIVE_INFINITY;",
      "budgetReadyAtMs(state.budget, settings.budget, nowMs) < 0 ? nowMs : Number.POSITIVE_INFINITY;",
    ),
    [PROTOCOL],
  ),
  mutant(
    "budget-is-not-spent",
    "P10",
    "Epochs cost nothing of the request budget.",
    decides("budget: spendBudget(state.budget, settings.budget, moment.nowMs),", "budget: state.budget,"),
    [PROTOCOL],
  ),
  mutant(
    "missing-is-put-at-once",
    "P10",
    '"Exists" and then "missing" goes round without a pause.',
    decides("if (phase.attempt.failures > 0) return resume", "if (phase.attempt.failures >= 0) return resume"),
    [{ test: "tests/protocol/commit-edges.test.ts" }],
  ),
  mutant(
    "seals-fail-without-a-pause",
    "P10",
    "A seal that fails is tried again at once, for ever.",
    decides("pending: false, sealFailures, sealNotBeforeMs },", "pending: false, sealFailures },"),
    [PROTOCOL],
  ),
];
