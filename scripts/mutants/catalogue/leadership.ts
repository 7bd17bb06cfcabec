/** What a leadership does with transactions, readers and orphans: src/node/leadership.ts and around it. */
import { type Mutant, mutant } from "../mutant.ts";

const FILE = "src/node/leadership.ts";
const COMMIT = { test: "tests/node/commit.test.ts" };
const SHUTDOWN = { test: "tests/node/shutdown.test.ts" };
const TRANSACTION = { test: "tests/node/transaction.test.ts" };
const ROLLBACK = { test: "tests/node/rollback.test.ts" };
const SYNC = { test: "tests/node/sync.test.ts" };
const FOLLOW = { test: "tests/node/follow.test.ts" };
const SCENARIOS = { test: "tests/testing/simulator/scenarios.test.ts" };
const SIMULATOR = { sim: { seeds: 200 } };

const leadership = (find: string, replace: string) => ({ file: FILE, find, replace });
const node = (find: string, replace: string) => ({ file: "src/node/node.ts", find, replace });
const syncing = (find: string, replace: string) => ({ file: "src/node/syncing.ts", find, replace });

export const LEADERSHIP_MUTANTS: readonly Mutant[] = [
  mutant(
    "offers-again",
    "P1",
    "A second step-down offers the leadership though the last epoch is on its way.",
    {
      file: "src/node/network.ts",
      find: "      cancelWait();\n      if (isAccepted)",
      replace: "      cancelWait();\n      this.#handover = undefined;\n      if (isAccepted)",
    },
    [{ test: "tests/node/handover.test.ts" }],
  ),
  mutant(
    "paused-question-proves",
    "P5",
    "sync to a staleness believes that nothing came next, however long the question was on its way.",
    syncing("{ signal })) && this.#isRecent(epoch)) return;", "{ signal }))) return;"),
    [{ test: "tests/node/sync-suspended.test.ts" }],
  ),
  mutant(
    "answers-never",
    "P6",
    "Who waits for an epoch that was not written is never told.",
    leadership("    batch.durable.reject(reason);", '    if (reason.kind !== "fenced") batch.durable.reject(reason);'),
    [SIMULATOR],
  ),
  mutant(
    "rollback-to-the-one-before",
    "P1",
    "A rollback restores the epoch before the one that was asked for.",
    {
      file: "src/node/rollback-source.ts",
      find: "signal, onProgress, upTo })",
      replace: "signal, onProgress, upTo: upTo - 1 })",
    },
    [SIMULATOR, ROLLBACK],
  ),
  mutant(
    "hand-overs-at-once",
    "P10",
    "A second step-down makes an offer of its own, and the first one never hears the answer.",
    {
      file: "src/node/network.ts",
      find: "this.#handover ??= this.#offerLead();",
      replace: "this.#handover = this.#offerLead();",
    },
    [SCENARIOS],
  ),
  mutant(
    "sync-outlives-the-node",
    "P10",
    "What waits in sync, and asks the store for it, goes on after shutdown.",
    syncing("    this.#closing.abort(reason);\n", ""),
    [SCENARIOS],
  ),
  mutant(
    "looking-back-outlives-the-node",
    "P10",
    "db.at and diff go on asking the store after shutdown.",
    node("    this.#closing.abort(reason);\n", ""),
    [SCENARIOS],
  ),
  mutant(
    "orphans-outlive-the-node",
    "P10",
    "The deletion of an orphan goes on after shutdown.",
    {
      file: "src/node/orphan.ts",
      find: "    this.#abort.abort();",
      replace: "    if (this.#running.size < 0) this.#abort.abort();",
    },
    [{ test: "tests/node/orphan.test.ts" }],
  ),
  mutant(
    "asked-apart-outlives-the-node",
    "P10",
    "Announcements and probes of addresses go on after shutdown.",
    { file: "src/node/peer-pool.ts", find: "    this.#apart.add(peer);\n", replace: "" },
    [SCENARIOS],
  ),
  mutant(
    "connections-outlive-the-node",
    "P10",
    "Connections to other nodes stay open after shutdown.",
    {
      file: "src/node/peer-pool.ts",
      find: "const shared = [...this.#peers.values(), ...this.#leaving.keys()].map(",
      replace: "const shared = [...this.#leaving.keys()].map(",
    },
    [SCENARIOS, SIMULATOR, { ...SHUTDOWN, name: "leaves nothing that keeps the process alive" }],
  ),
  mutant(
    "forbidden-is-asked-often",
    "P10",
    "A node with a wrong clock asks for the stream every two seconds for ever.",
    {
      file: "src/node/subscription.ts",
      find: 'this.#isForbidden = isClusterError(error) && error.code === "stream_forbidden";',
      replace: 'this.#isForbidden = isClusterError(error) && error.code === "stream_forbidden!";',
    },
    [SCENARIOS],
  ),
  mutant(
    "fenced-is-acknowledged",
    "P1",
    "The epoch that was under way when a leader was fenced is acknowledged.",
    leadership(
      "if (this.#sealed !== undefined) this.#reject(this.#sealed.batch, sealedReason);",
      "if (this.#sealed !== undefined) this.#sealed.batch.durable.resolve({ epoch: this.#sealed.epoch });",
    ),
    [COMMIT, SIMULATOR],
  ),
  mutant(
    "fenced-goes-on-leading",
    "P3",
    "A fenced leader goes on taking transactions as if it led.",
    {
      file: "src/protocol/commit.ts",
      find: 'state: { ...state, phase: { name: "ended" }, leading: false, pending: false },',
      replace: 'state: { ...state, phase: { name: "ended" }, pending: false },',
    },
    [{ test: "tests/protocol/commit-edges.test.ts" }, SIMULATOR],
  ),
  mutant(
    "fenced-keeps-its-role",
    "P3",
    "A node whose leadership has ended goes on serving as the leader.",
    node(
      'if (this.#shutdown === undefined) this.#role.set("standby");',
      "if (this.#shutdown === undefined) this.#noteRollback(-1);",
    ),
    [COMMIT],
  ),
  mutant(
    "fenced-ends-the-node",
    "P3",
    "A node that was fenced does not follow again, as in the original.",
    node("    this.#following.leadershipEnded(end);\n", ""),
    [COMMIT, SIMULATOR],
  ),
  {
    id: "writer-outlives-fencing",
    promise: "P3",
    broken: "The writer, with what is not durable, is kept when the leadership ends, and serves the next one.",
    edits: [
      leadership(
        "    this.#reject(this.#batch, openReason());\n    this.#closeWriter();",
        "    this.#reject(this.#batch, openReason());\n    if (this.#writer !== undefined) keptWriters.set(this.#replica, this.#writer);",
      ),
      leadership(
        "    this.#writer ??= this.#replica.openWriter();",
        "    this.#writer ??= keptWriters.get(this.#replica) ?? this.#replica.openWriter();",
      ),
      leadership(
        "export class Leadership {\n",
        "const keptWriters = new WeakMap<Replica, Writer>();\n\nexport class Leadership {\n",
      ),
    ],
    caughtBy: [COMMIT, { test: "tests/node/handover.test.ts" }, SIMULATOR],
  },
  mutant(
    "orphan-stays",
    "P2",
    "An epoch of ours that history went on without is left in the store.",
    leadership("if (action.deleteOurs) this.#events.onOrphan(epoch);", ""),
    [COMMIT],
  ),
  mutant(
    "orphan-deletion-not-repeated",
    "P2",
    "The deletion of an orphan is tried once.",
    { file: "src/node/orphan.ts", find: "const ATTEMPTS_MAX = 10;", replace: "const ATTEMPTS_MAX = 1;" },
    [COMMIT],
  ),
  mutant(
    "close-says-not-written",
    "P6",
    "A node that is closed while a PUT is under way says that it was not written.",
    leadership('unknownOutcome("the node was shut down before the store answered"), () =>', "nodeClosed(), () =>"),
    [SHUTDOWN, SIMULATOR],
  ),
  mutant(
    "rollback-keeps-the-batch",
    "P6",
    "Transactions that wait when a rollback comes are acknowledged with it, and are not there.",
    leadership("    this.#dropBatch(rolledBack(rollback.target.epoch));\n", ""),
    [ROLLBACK],
  ),
  mutant(
    "seal-failure-resolves",
    "P1",
    "A batch that could not be sealed stays open, its acks with it.",
    leadership(
      "      this.#closeWriter();\n      this.#dropBatch(\n        new ClusterError(",
      "      this.#closeWriter();\n      ((_: ClusterError) => {})(\n        new ClusterError(",
    ),
    [ROLLBACK, COMMIT],
  ),
  mutant(
    "transactions-unbounded",
    "P10",
    "Any number of transactions may wait.",
    leadership("if (transactions >= settings.pendingTransactionsMax) {", "if (transactions < 0) {"),
    [COMMIT],
  ),
  mutant(
    "pending-bytes-unbounded",
    "P10",
    "Any number of bytes may wait.",
    leadership("if (transactions > 0 && bytes >= settings.pendingBytesMax)", "if (transactions > 0 && bytes < 0)"),
    [COMMIT],
  ),
  {
    id: "step-down-inside-a-transaction",
    promise: "P1",
    broken: "A transaction function that asks to step down has its first half sealed.",
    edits: [leadership("    await null;\n", ""), node("      await this.#components.network.handOver();\n", "")],
    caughtBy: [{ ...COMMIT, name: "steps down only after the transaction function" }],
  },
  mutant(
    "nested-transaction",
    "P6",
    "A transaction inside a transaction is taken.",
    leadership("    if (this.#isInTransaction) {", "    if (this.#isInTransaction && this.#isOver) {"),
    [TRANSACTION, COMMIT],
  ),
  mutant(
    "push-before-durable",
    "P4",
    "An epoch is pushed to followers when its PUT begins.",
    leadership(
      "    this.#requests.put(sealed);\n",
      "    this.#requests.put(sealed);\n    if (this.#wasLeading) this.#events.onDurable({ epoch, wal: sealed.wal.bytes, hash: sealed.hash(), transactions: 0, latencyMs: 0 });\n",
    ),
    [SIMULATOR, { test: "tests/node/push.test.ts" }],
  ),
  mutant(
    "barrier-is-passed-on",
    "P10",
    "A node that is asked as the leader for a barrier asks whoever leads: itself, while it leaves and was fenced.",
    {
      file: "src/node/internal-routes.ts",
      find: "const barrier = await node.leaderBarrier();",
      replace: "const barrier = await node.barrier();",
    },
    [{ test: "tests/node/internal-routes.test.ts" }],
  ),
  mutant(
    "barrier-from-memory",
    "P4",
    "A leader answers a linearizable read without an epoch that proves that it leads.",
    leadership(
      "    this.#submit(this.#batch);\n    return this.#batch.durable.promise;\n  }\n\n  /** Aborts",
      "    return Promise.resolve({ epoch: this.#replica.epoch });\n  }\n\n  /** Aborts",
    ),
    [FOLLOW, SYNC, SIMULATOR],
  ),
  mutant(
    "linearizable-is-local",
    "P4",
    "A linearizable read shows what the node has.",
    syncing(
      "await this.#reach((await this.#node.barrier(signal, timeoutMs)).epoch, signal, timeoutMs);",
      "await this.#reach(this.#node.epoch(), signal, timeoutMs);",
    ),
    [SIMULATOR, SYNC],
  ),
  mutant(
    "at-least-does-not-wait",
    "P4",
    "A read that asks for an epoch shows what the node has.",
    syncing("if (this.#node.epoch() >= epoch) return;", "if (this.#node.epoch() >= 0) return;"),
    [SIMULATOR, FOLLOW],
  ),
  mutant(
    "staleness-not-asked",
    "P4",
    "A read that bounds its staleness asks nobody.",
    syncing("!isFresh(this.#node.provenAt()); ) {", "!isFresh(this.#node.provenAt()) && maxStalenessMs < 0; ) {"),
    [SIMULATOR, SYNC],
  ),
  mutant(
    "staleness-by-one-clock",
    "P5",
    "How long ago something was found out is told by the monotonic clock alone.",
    syncing("elapsedMs(instant, called) <= maxStalenessMs;", "called.nowMs - instant.ms <= maxStalenessMs;"),
    [{ test: "tests/node/sync-suspended.test.ts" }],
  ),
  mutant(
    "superseded-leader-is-fresh",
    "P4",
    "A leader takes itself for fresh, however long ago it proved that it leads.",
    syncing("if (leadingAgeMs > maxStalenessMs) await", "if (leadingAgeMs > Number.MAX_VALUE) await"),
    [SIMULATOR, SYNC],
  ),
  mutant(
    "missing-is-current",
    "P4",
    "After long silence a missing epoch counts as proof that there is none, as for the original's followers that slept.",
    syncing(
      "return this.#node.silentMs() <= this.#parts.settings.sessionTimeoutMs && this",
      "return this.#node.silentMs() <= Number.MAX_VALUE && this",
    ),
    [SYNC],
  ),
];
