/** The object stores and their wrappers: src/store, and the proof of `init`. */
import { type Edit, type Mutant, mutant } from "../mutant.ts";

const CONFORMANCE = { test: "tests/store/conformance.test.ts" };
const FILE_SYSTEM = { test: "tests/store/file-system-store.test.ts" };
const S3 = { test: "tests/store/s3-store.test.ts" };
const S3_CONDITIONAL = { test: "tests/store/s3-conditional.test.ts" };
const S3_FAILURES = { test: "tests/store/s3-failures.test.ts" };
const WRAPPERS = { test: "tests/store/wrappers.test.ts" };
const DEADLINE = { test: "tests/store/deadline.test.ts" };
const PROBE = { test: "tests/store/atomic-create-probe.test.ts" };
const INIT = { test: "tests/node/init.test.ts" };

const s3 = (find: string, replace: string): Edit => ({ file: "src/store/s3-store.ts", find, replace });
const files = (find: string, replace: string): Edit => ({ file: "src/store/file-system-write.ts", find, replace });
const init = (find: string, replace: string): Edit => ({ file: "src/history/init.ts", find, replace });

export const STORE_MUTANTS: readonly Mutant[] = [
  mutant(
    "memory-create-overwrites",
    "P2",
    "The memory store creates what exists.",
    {
      file: "src/store/memory-store.ts",
      find: 'if (known && options.ifAbsent) return "exists";',
      replace: 'if (known && options.ifAbsent && key === "") return "exists";',
    },
    [CONFORMANCE],
  ),
  {
    id: "file-create-asks-first",
    promise: "P2",
    broken: "The file system store asks whether a file exists and then renames: two creators may win.",
    edits: [
      files(
        "if (write.ifAbsent) return await linkIfAbsent(temporary, write);",
        'if (write.ifAbsent && (await stat(write.target).catch(() => undefined)) !== undefined) return "exists";',
      ),
      files("if (write.ifAbsent) await unlink(temporary);", "await unlink(temporary).catch(() => write);"),
    ],
    caughtBy: [CONFORMANCE, FILE_SYSTEM],
  },
  {
    id: "file-written-in-place",
    promise: "P7",
    broken: "An overwrite is visible while it is written.",
    edits: [
      files(
        "  await rename(temporary, write.target);\n",
        '  const target = await open(write.target, "w");\n  for (const piece of bodyPieces(write.body, 64)) await target.write(piece);\n  await target.close();\n  await unlink(temporary);\n',
      ),
    ],
    caughtBy: [CONFORMANCE, FILE_SYSTEM],
  },
  mutant(
    "aborted-put-leaves-a-file",
    "P10",
    "A put that fails or is aborted leaves its temporary file.",
    files("    await unlink(temporary.path).catch(() => {});\n", ""),
    [FILE_SYSTEM],
  ),
  mutant(
    "aborted-put-takes-effect",
    "P6",
    "A put that was aborted at its last moment still makes its object.",
    files(
      "  // The last moment at which giving up still leaves nothing behind.\n  write.signal.throwIfAborted();\n",
      "",
    ),
    [FILE_SYSTEM, CONFORMANCE],
  ),
  mutant(
    "s3-create-without-condition",
    "P2",
    "A create is sent to S3 without If-None-Match.",
    s3('const headers = ifAbsent ? { "if-none-match": "*" } : {};', "const headers = {};"),
    [S3_CONDITIONAL],
  ),
  mutant(
    "s3-412-is-created",
    "P1",
    "412 counts as having created the object.",
    s3(
      'if (answer.status === 412 && ifAbsent) return "exists";',
      'if (answer.status === 412 && ifAbsent) return "created";',
    ),
    [S3_FAILURES],
  ),
  mutant(
    "s3-412-of-anything-is-exists",
    "P6",
    '412 says "exists" also of an overwrite.',
    s3("if (answer.status === 412 && ifAbsent) return", "if (answer.status === 412) return"),
    [S3_FAILURES],
  ),
  mutant(
    "s3-409-is-exists",
    "P6",
    '409, which says that another request is under way, counts as "exists".',
    s3(
      "if (answer.status === 412 && ifAbsent) return",
      "if ((answer.status === 412 || answer.status === 409) && ifAbsent) return",
    ),
    [S3_FAILURES],
  ),
  mutant(
    "s3-conflict-is-final",
    "P6",
    "409 is an error that no repetition mends.",
    {
      file: "src/store/s3-errors.ts",
      find: 'return { kind: "unavailable", code: "store_conflict",',
      replace: 'return { kind: "invalid", code: "store_conflict",',
    },
    [S3_FAILURES],
  ),
  mutant(
    "s3-throttling-is-final",
    "P10",
    "429 and SlowDown are errors that no repetition mends.",
    {
      file: "src/store/s3-errors.ts",
      find: 'return { kind: "unavailable", code: "store_throttled",',
      replace: 'return { kind: "invalid", code: "store_throttled",',
    },
    [S3_FAILURES],
  ),
  mutant(
    "s3-any-404-is-missing",
    "P1",
    "404 of a wrong endpoint or a missing bucket says that the object is not there.",
    s3(
      'return answer.status === 404 && ["NoSuchKey", "NotFound"].includes(s3Fault(answer).s3Code ?? "");',
      "return answer.status === 404;",
    ),
    [S3_FAILURES],
  ),
  mutant(
    "s3-short-body-is-taken",
    "P7",
    "A body shorter than announced is taken for the object.",
    {
      file: "src/store/s3-client.ts",
      find: "announced !== undefined && announced !== bytes.length) {",
      replace: "announced !== undefined && announced < 0) {",
    },
    [S3_FAILURES],
  ),
  mutant(
    "s3-any-range-is-right",
    "P7",
    "A part of an object counts as the one that was asked for, whatever the answer names.",
    s3(
      "const isRight = start === expected.start && last === expected.end - 1;",
      "const isRight = start >= 0 && last >= 0;",
    ),
    [S3_FAILURES, S3],
  ),
  mutant(
    "s3-listing-out-of-order",
    "P2",
    "A listing is believed in whatever order it comes.",
    {
      file: "src/store/s3-list.ts",
      find: "if (compareKeys(key, previous) <= 0) {",
      replace: "if (key === listing.prefix) {",
    },
    [S3_FAILURES],
  ),
  mutant(
    "s3-listing-without-an-end",
    "P2",
    "A listing that does not say whether it is complete counts as complete.",
    {
      file: "src/store/s3-list.ts",
      find: 'if (truncated !== "true" && truncated !== "false") {',
      replace: 'if (truncated === "") {',
    },
    [S3_CONDITIONAL],
  ),
  mutant(
    "s3-create-in-parts",
    "P2",
    "A large create goes up in parts, without a dependable condition.",
    s3(
      "if (ifAbsent) throw this.#noConditionalParts(key, body);",
      'if (ifAbsent && key === "") throw this.#noConditionalParts(key, body);',
    ),
    [S3_CONDITIONAL],
  ),
  mutant(
    "creates-are-repeated",
    "P6",
    "A create is repeated when its answer is lost: it then meets itself, and calls it another's.",
    {
      file: "src/store/retrying-store.ts",
      find: "if (options.ifAbsent || isReadOnce) return",
      replace: "if (isReadOnce) return",
    },
    [WRAPPERS],
  ),
  mutant(
    "everything-is-repeated",
    "P10",
    "What a repetition cannot mend is repeated.",
    {
      file: "src/store/retry.ts",
      find: '|| !isClusterError(error) || error.kind !== "unavailable";',
      replace: "|| !isClusterError(error);",
    },
    [WRAPPERS],
  ),
  mutant(
    "retries-for-ever",
    "P10",
    "A store that fails is asked for ever.",
    {
      file: "src/store/retry.ts",
      find: "const isFinal = attempts >= policy.attemptsMax ||",
      replace: "const isFinal = attempts >= 1_000_000 ||",
    },
    [WRAPPERS],
  ),
  mutant(
    "calls-without-a-time-out",
    "P10",
    "A call to the store may take for ever.",
    {
      file: "src/store/deadline.ts",
      find: "let cancel = clock.after(bounds.timeoutMs, onTimeout);",
      replace: "let cancel = clock.after(bounds.timeoutMs, () => onTimeout);",
    },
    [DEADLINE, S3_FAILURES],
  ),
  mutant(
    "keys-leave-the-prefix",
    "P9",
    'A key may have segments "..".',
    {
      file: "src/store/key-rules.ts",
      find: 'if (segment === "." || segment === "..") return',
      replace: 'if (segment === ".") return',
    },
    [CONFORMANCE, WRAPPERS],
  ),
  mutant(
    "two-winners-are-atomic",
    "P2",
    "A race that several creators won counts as atomic.",
    {
      file: "src/store/atomic-create-probe.ts",
      find: "  if (winners.length > 1) {\n",
      replace: "  if (winners.length > RACE_CREATORS) {\n",
    },
    [PROBE, INIT],
  ),
  mutant(
    "winner-is-not-read-back",
    "P2",
    "A store that keeps a loser's bytes counts as atomic.",
    {
      file: "src/store/atomic-create-probe.ts",
      find: "if (stored === undefined || !equalBytes(stored.bytes, bodies[winner] as Uint8Array)) {",
      replace: "if (winner < 0) {",
    },
    [PROBE, INIT],
  ),
  mutant(
    "init-proves-nothing",
    "P2",
    "init does not try whether the store's create is atomic.",
    init("  await proveAtomicCreate(store, parts, signal);\n", ""),
    [INIT],
  ),
  mutant(
    "init-twice",
    "P2",
    "A second init takes the first one's epoch 0 for its own.",
    init("return found !== undefined && equalBytes(found.bytes, wal);", "return found !== undefined;"),
    [INIT],
  ),
  {
    id: "init-below-a-history",
    promise: "P2",
    broken: "init puts a new epoch 0 below the history of a cluster that was trimmed.",
    edits: [
      init("  if (await hasEpochs(store, signal)) throw alreadyInitialized(store);\n", ""),
      init("  if (isThere) return true;\n", "  if (isThere !== undefined) return true;\n"),
    ],
    caughtBy: [INIT],
  },
];
