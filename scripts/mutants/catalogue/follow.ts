/** Following and claiming: src/protocol/follow.ts, and who carries it out. */
import { type Edit, type Mutant, mutant } from "../mutant.ts";

const DECIDES = "src/protocol/follow.ts";
const STATE = "src/protocol/follow-state.ts";
const CONTACT = "src/protocol/leader-contact.ts";
const DOES = "src/node/following.ts";
const PROTOCOL = { test: "tests/protocol/follow.test.ts" };
const EDGES = { test: "tests/protocol/follow-edges.test.ts" };
const NODE = { test: "tests/node/follow.test.ts" };
const ELECTION = { test: "tests/node/election.test.ts" };
const SIMULATOR = { sim: { seeds: 200 } };
const ABSENCES = { sim: { seeds: 200, profile: "absence" } };

const decides = (find: string, replace: string): Edit => ({ file: DECIDES, find, replace });
const does = (find: string, replace: string): Edit => ({ file: DOES, find, replace });

/** Names in capitals are those of docs/model/fencing.pml. */
export const FOLLOW_MUTANTS: readonly Mutant[] = [
  mutant(
    "next-is-proof",
    "P1",
    "NEXT_IS_PROOF: a listing that names later epochs proves a claim of one of them.",
    decides(
      'state: { ...state, activity: "fetching", staleAtJoin: false, mustAsk: false },',
      'state: { ...state, activity: "fetching", staleAtJoin: false, mustAsk: false, provenAt: state.askedAt },',
    ),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "next-is-trusted",
    "P2",
    "NEXT_IS_TRUSTED: after long silence a listing without a gap is believed.",
    decides("      if (mayBeTrimmed(state, moment))\n", "      if (mayBeTrimmed(state, moment) && state.epoch < 0)\n"),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "late-answer-is-progress",
    "P2",
    "LATE_ANSWER_IS_PROGRESS: what a request brings after a pause is applied.",
    does(
      "    return mayBeTrimmed(this.#machine.state, readClock(this.#parts.settings.clock));",
      "    return mayBeTrimmed(this.#machine.state, readClock(this.#parts.settings.clock)) && this.#replica.epoch < 0;",
    ),
    [{ test: "tests/node/late-answer.test.ts" }, SIMULATOR],
  ),
  mutant(
    "restored-is-progress",
    "P2",
    "After a restore that took long the next epoch is fetched without a question.",
    {
      file: "src/protocol/follow-state.ts",
      find: "    progressAt: readAt,",
      replace: "    progressAt: readAt.ms > moment.nowMs ? readAt : { ms: moment.nowMs, wallMs: moment.wallMs },",
    },
    [{ test: "tests/protocol/follow-edges.test.ts" }],
  ),
  mutant(
    "late-answer-asks-nobody",
    "P2",
    "After an answer that came too late the next epoch is fetched again without a question.",
    decides(
      'return { state: { ...state, activity: "waiting", mustAsk: true, pollAtMs: nowMs } };',
      'return { state: { ...state, activity: "waiting", pollAtMs: nowMs, progressAt: instantOf(moment) } };',
    ),
    [PROTOCOL],
  ),
  mutant(
    "chatter-is-an-epoch",
    "P3",
    "A leader that is cut off from the store keeps everybody from claiming by telling who is there.",
    decides(
      "return Math.min(pollAtMs, Math.max(silentAtMs, nowMs));",
      "return Math.max(pollAtMs, Math.min(silentAtMs, nowMs));",
    ),
    [PROTOCOL],
  ),
  mutant(
    "chatter-puts-off",
    "P10",
    "Who waits for an epoch waits longer with everything else that the leader tells.",
    decides("isWanted(current, nowMs) ? Math.min(state.pollAtMs, pollAtMs) : pollAtMs", "pollAtMs"),
    [PROTOCOL],
  ),
  mutant(
    "lag-is-fresh",
    "P2",
    "Who lags behind what the leader tells of takes a missing epoch for the end of the history.",
    does("if (isContinuous && this.offeredEpoch < epoch && asked", "if (isContinuous && asked"),
    [{ test: "tests/node/sync-suspended.test.ts" }],
  ),
  mutant(
    "late-by-one-clock",
    "P5",
    "How long nothing was known is told by the monotonic clock alone.",
    {
      file: "src/protocol/moment.ts",
      find: "return Math.max(now.nowMs - since.ms, now.wallMs - since.wallMs);",
      replace: "return Math.max(now.nowMs - since.ms, Number.NEGATIVE_INFINITY);",
    },
    [ABSENCES, { test: "tests/protocol/commit.test.ts" }, PROTOCOL],
  ),
  mutant(
    "fenced-is-progress",
    "P2",
    "FENCED_IS_PROGRESS: who was fenced after a pause follows as if it had been there.",
    decides("event.hasLeader, 0, event.provenAt, settings", "event.hasLeader, 0, instantOf(moment), settings"),
    [EDGES, SIMULATOR],
  ),
  mutant(
    "left-behind-is-forgotten",
    "P2",
    "Who created a number again that history had trimmed goes on following from there.",
    decides("mustAsk: event.isLeftBehind === true,", "mustAsk: false,"),
    [EDGES, SIMULATOR],
  ),
  {
    id: "claim-unasked",
    promise: "P1",
    broken: "CLAIM_UNASKED: a claim counts as proven without a question to the store.",
    edits: [
      decides(
        "  if (elapsedMs(provenAt, moment) > settings.sessionTimeoutMs) {\n",
        "  if (elapsedMs(provenAt, moment) > settings.sessionTimeoutMs && state.epoch < 0) {\n",
      ),
      decides(
        'return act(claiming, { type: "claim", reason, provenAt });',
        'return act(claiming, { type: "claim", reason, provenAt: instantOf(moment) });',
      ),
    ],
    caughtBy: [PROTOCOL, SIMULATOR],
  },
  mutant(
    "handover-is-proof",
    "P1",
    "HANDOVER_IS_PROOF: that it is to lead next proves any claim of a node.",
    decides(
      "return { state: { ...state, contact: { ...state.contact, acceptedAt: instantOf(moment) } } };",
      "return { state: { ...state, provenAt: instantOf(moment), contact: { ...state.contact, acceptedAt: instantOf(moment) } } };",
    ),
    [EDGES, SIMULATOR],
  ),
  mutant(
    "handover-unheard",
    "P1",
    "Whoever sees an epoch without a leader takes itself for the one that was named.",
    decides("!hasLeader && nowMs < contact.successorUntilMs;", "!hasLeader && nowMs < Number.POSITIVE_INFINITY;"),
    [PROTOCOL],
  ),
  mutant(
    "follower-claims",
    "P3",
    "A node that joined as a follower claims.",
    decides(
      "if (!settings.candidate || next.hasLeader || next.claimAtMs !== undefined) return next;",
      "if (next.hasLeader || next.claimAtMs !== undefined) return next;",
    ),
    [PROTOCOL],
  ),
  mutant(
    "claims-while-led",
    "P3",
    "A standby claims after each look at the store, though somebody leads.",
    decides(
      "if (!settings.candidate || next.hasLeader || next.claimAtMs !== undefined) return next;",
      "if (!settings.candidate || next.claimAtMs !== undefined) return next;",
    ),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "hole-is-next",
    "P2",
    "A gap after what is applied is not seen: who slept longer than the retention waits for ever.",
    {
      file: "src/protocol/later-epochs.ts",
      find: 'index) => later === epoch + 1 + index) ? "next" : "hole";',
      replace: 'index) => later > epoch + index) ? "next" : "hole";',
    },
    [NODE, SIMULATOR],
  ),
  mutant(
    "silence-asks-nobody",
    "P2",
    "After long without progress the next epoch is fetched on trust.",
    decides(
      "return Math.max(silentMs, silentWallMs) > settings.sessionTimeoutMs;",
      "return Math.max(silentMs, silentWallMs) > Number.MAX_VALUE;",
    ),
    [PROTOCOL, SIMULATOR],
  ),
  mutant(
    "silence-by-one-clock",
    "P5",
    "Silence is measured by the monotonic clock alone.",
    decides(
      "return Math.max(silentMs, silentWallMs) > settings.sessionTimeoutMs;",
      "return (silentWallMs, silentMs) > settings.sessionTimeoutMs;",
    ),
    [PROTOCOL],
  ),
  mutant(
    "wall-clock-is-trusted",
    "P5",
    "That a wall clock was set makes the leader silent.",
    decides(
      "const isSilent = staleAtJoin || nowMs - state.progressAt.ms > settings.sessionTimeoutMs;",
      "const isSilent = staleAtJoin || moment.wallMs - state.progressAt.wallMs > settings.sessionTimeoutMs;",
    ),
    [{ ...ELECTION, name: "is not caused by setting a wall clock" }, PROTOCOL, SIMULATOR],
  ),
  mutant(
    "age-by-the-leaders-clock",
    "P5",
    "Whether a leader is stale at join is told by comparing its clock with ours, as in the original.",
    {
      file: "src/history/restore-walk.ts",
      find: "newestAgeMs: newest === undefined ? 0 : newest.nowMs - newest.lastModifiedMs,",
      replace: 'newestAgeMs: newest === undefined ? 0 : Date.now() - Date.parse(this.#state.rows.lastUpdate ?? ""),',
    },
    [ELECTION],
  ),
  mutant(
    "ages-without-a-margin",
    "P5",
    "The store's clock, which counts whole seconds, is believed to the millisecond.",
    { file: STATE, find: "settings.sessionTimeoutMs + STORE_CLOCK_MARGIN_MS,", replace: "settings.sessionTimeoutMs," },
    [PROTOCOL],
  ),
  mutant(
    "first-refusal-replaces",
    "P3",
    "One refused connection is enough to replace a leader.",
    {
      file: CONTACT,
      find: "isGone: nowMs - refusedAtMs >= REFUSAL_GAP_MS };",
      replace: "isGone: nowMs >= refusedAtMs };",
    },
    [PROTOCOL],
  ),
  mutant(
    "refusals-flap",
    "P3",
    "Two nodes that cannot reach each other take turns as fast as they can.",
    {
      file: CONTACT,
      find: "return settings.fastFailover && nowMs >= contact.notBeforeMs;",
      replace: "return settings.fastFailover && nowMs >= Math.min(contact.notBeforeMs, nowMs);",
    },
    [PROTOCOL, { test: "tests/node/failover.test.ts" }],
  ),
  mutant(
    "refused-leader-that-writes-is-replaced",
    "P3",
    "An epoch that arrives long after a refusal is no sign of life.",
    decides("  const contact = contactAdvanced(state.contact, nowMs);\n", "  const { contact } = state;\n"),
    [PROTOCOL],
  ),
  mutant(
    "one-failure-ends-following",
    "P10",
    "One failed request ends a follower's loop, as in the original.",
    does("        this.#machine.dispatch(onFailure);\n", ""),
    [NODE],
  ),
  mutant(
    "failures-without-a-pause",
    "P10",
    "A store that fails is asked again at once.",
    decides(
      "failures, pollAtMs: moment.nowMs + pauseMs };",
      "failures, pollAtMs: Math.min(moment.nowMs, moment.nowMs + pauseMs) };",
    ),
    [PROTOCOL],
  ),
  mutant(
    "diverged-goes-on",
    "P7",
    "A node whose state differs does not read everything anew.",
    decides("if (state.divergences % 2 === 0)", "if (state.divergences >= 0)"),
    [PROTOCOL, NODE],
  ),
  mutant(
    "stream-spares-nothing",
    "P10",
    "A follower polls every second though the stream brings everything, as in the original.",
    decides("  if (nowMs >= reliedUntilMs) {\n", "  if (nowMs >= Math.min(nowMs, reliedUntilMs)) {\n"),
    [PROTOCOL],
  ),
  mutant(
    "failed-bootstrap-is-forgotten",
    "P2",
    "After a bootstrap that failed, the next epoch is fetched on trust.",
    decides(
      "return { state: failed({ ...state, mustAsk: true }, settings, moment) };",
      "return { state: failed(state, settings, moment) };",
    ),
    [EDGES],
  ),
];
