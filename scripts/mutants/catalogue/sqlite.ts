/** The image, its readers, the writer, and what is verified before it is applied: src/sqlite and src/format. */
import { type Edit, type Mutant, mutant } from "../mutant.ts";

const IMAGE = { test: "tests/sqlite/image.test.ts" };
const ISOLATION = { test: "tests/sqlite/isolation.test.ts" };
const WRITER = { test: "tests/sqlite/writer.test.ts" };
const NEIGHBOURS = { test: "tests/sqlite/neighbours.test.ts" };
const VERIFY = { test: "tests/sqlite/verify.test.ts" };
const RULES = { test: "tests/sqlite/rules.test.ts" };
const ROLLBACK = { test: "tests/sqlite/rollback-wal.test.ts" };
const SIMULATOR = { sim: { seeds: 200 } };

const image = (find: string, replace: string): Edit => ({ file: "src/sqlite/image.ts", find, replace });
const writer = (find: string, replace: string): Edit => ({ file: "src/sqlite/writer.ts", find, replace });
const state = (find: string, replace: string): Edit => ({ file: "src/sqlite/replica-state.ts", find, replace });
const reader = (find: string, replace: string): Edit => ({ file: "src/sqlite/reader.ts", find, replace });

export const SQLITE_MUTANTS: readonly Mutant[] = [
  mutant(
    "pin-loses-old-pages",
    "P4",
    "A page that is overwritten is not saved for who reads an older version.",
    image("      if (pageNumber <= oldPageCount) this.#savePage(pageNumber);\n", ""),
    [IMAGE, ISOLATION, SIMULATOR],
  ),
  mutant(
    "pin-loses-cut-pages",
    "P4",
    "A page that is cut off is not saved for who reads an older version.",
    image(
      "      this.#savePage(pageNumber);\n      this.#subtractHash(pageNumber);\n      // A later",
      "      this.#subtractHash(pageNumber);\n      // A later",
    ),
    [IMAGE],
  ),
  mutant(
    "pin-is-saved-twice",
    "P4",
    "A pin takes the newest of the bytes that a page had since.",
    image(
      "return pageNumber <= this.pageCount && !this.#saved.has(pageNumber);",
      "return pageNumber <= this.pageCount;",
    ),
    [IMAGE, ISOLATION],
  ),
  mutant(
    "cut-pages-come-back",
    "P2",
    "A database that shrinks and grows again shows what was cut off.",
    image("      this.page(pageNumber).fill(0);\n", ""),
    [IMAGE],
  ),
  mutant(
    "checksum-forgets-old-pages",
    "P7",
    "The state checksum adds the new hash of a page and keeps the old one.",
    image("      this.#subtractHash(pageNumber);\n      const offset", "      const offset"),
    [IMAGE, VERIFY, WRITER],
  ),
  mutant(
    "pages-equal-by-hash",
    "P7",
    "Pages with equal hashes count as equal, though hashes can be made equal.",
    image("    return equalWords(", "    return this.#pageCount > 0 || equalWords("),
    [ROLLBACK],
  ),
  mutant(
    "merged-before-put",
    "P4",
    "An epoch becomes part of the image when it is sealed, as in the original: readers see what is not durable.",
    writer(
      "    this.#sealed = wal;\n    this.#file.setSource(",
      "    this.#image.apply(wal);\n    this.#sealed = wal;\n    this.#file.setSource(",
    ),
    [SIMULATOR, ISOLATION, WRITER],
  ),
  {
    id: "reads-the-overlay",
    promise: "P4",
    broken: "db shows the writer's open batch above the durable image.",
    edits: [
      reader(
        "    const statement = this.#connection.prepare(sql);\n    if (!statement.readOnly",
        "    const statement = (openBatches.get(this.#context) ?? this.#connection).prepare(sql);\n    if (!statement.readOnly",
      ),
      reader(
        "/** One connection on one version at a time. */\n",
        "export const openBatches = new WeakMap<SqliteContext, Connection>();\n",
      ),
      writer("import { isThenable, type Reads }", "import { isThenable, openBatches, type Reads }"),
      writer(
        '    this.#connection = new Connection(context, path, "write");\n',
        '    this.#connection = new Connection(context, path, "write");\n    if (path === WRITER_PATH) openBatches.set(context, this.#connection);\n',
      ),
      writer(
        "    this.#removeFiles = () => {\n",
        "    this.#removeFiles = () => {\n      if (path === WRITER_PATH) openBatches.delete(context);\n",
      ),
    ],
    caughtBy: [ISOLATION, SIMULATOR],
  },
  {
    id: "reads-the-sealed-epoch",
    promise: "P4",
    broken: "Readers see the pages of the epoch that is on its way above those of the durable image.",
    edits: [
      {
        file: "src/sqlite/replica.ts",
        find: "() => pinImage(this.#state.image));",
        replace:
          "() => { const pin = pinImage(this.#state.image); const wal = openWriters.get(this.#state.image)?.sealed; return wal === undefined ? pin : { ...pin, source: new WalLayer(pin.source, wal), version: -pin.version }; });",
      },
      {
        file: "src/sqlite/replica.ts",
        find: 'import { Writer } from "./writer.ts";\n',
        replace: 'import { WalLayer } from "./image.ts";\nimport { openWriters, Writer } from "./writer.ts";\n',
      },
      writer(
        "  /** Bytes, about, that wait for the seal. */\n",
        "  get sealed(): Wal | undefined {\n    return this.#sealed;\n  }\n\n",
      ),
      writer(
        "export class Writer {\n",
        "export const openWriters = new WeakMap<DurableImage, Writer>();\n\nexport class Writer {\n",
      ),
      writer(
        '    this.#connection = new Connection(context, path, "write");\n',
        '    this.#connection = new Connection(context, path, "write");\n    if (path === WRITER_PATH) openWriters.set(image, this);\n',
      ),
      writer(
        "    this.#connection.close();\n    this.#removeFiles();",
        "    this.#sealed = undefined;\n    this.#connection.close();\n    this.#removeFiles();",
      ),
    ],
    caughtBy: [SIMULATOR],
  },
  mutant(
    "page-cache-is-kept",
    "P4",
    "The change counter that readers see does not change with the image.",
    {
      file: "src/sqlite/files.ts",
      find: "for (const start of [CHANGE_COUNTER, VERSION_VALID_FOR]) {",
      replace: "for (const start of [] as number[]) {",
    },
    [SIMULATOR, ISOLATION],
  ),
  mutant(
    "reader-is-not-released",
    "P4",
    "Readers go on with the version of before when an epoch is applied.",
    {
      file: "src/sqlite/replica.ts",
      find: "    this.#readers.release();\n    this.#state.apply(verified);",
      replace: "    this.#state.apply(verified);",
    },
    [ISOLATION, { test: "tests/node/follow.test.ts" }, SIMULATOR],
  ),
  mutant(
    "stale-reader-serves-another-history",
    "P4",
    "A reader that was lent while the database was exchanged is used again.",
    reader(
      "for (const reader of this.#lent) reader.isStale = true;",
      "for (const reader of this.#lent) reader.isStale = false;",
    ),
    [ISOLATION],
  ),
  mutant(
    "snapshot-given-up-goes-on",
    "P4",
    "A snapshot that SQLite gave up is continued on another version.",
    reader("if (!this.#reader.isHolding) {", "if (this.#ended && !this.#reader.isHolding) {"),
    [ISOLATION],
  ),
  mutant(
    "db-takes-writing-statements",
    "P4",
    "db runs statements that write.",
    reader("if (!statement.readOnly) {", "if (!statement.readOnly && this.isStale) {"),
    [RULES, { test: "tests/sqlite/statements.test.ts" }],
  ),
  mutant(
    "open-readers-unbounded",
    "P10",
    "Any number of iterations and snapshots may be open.",
    reader("if (this.#lent.size >= OPEN_READERS_MAX) {", "if (this.#lent.size >= Number.POSITIVE_INFINITY) {"),
    [ISOLATION],
  ),
  mutant(
    "transaction-is-not-undone",
    "P6",
    "What a transaction function did before it threw stays in the batch.",
    writer("    this.#rollbackTo.run(undefined);\n", ""),
    [SIMULATOR, NEIGHBOURS],
  ),
  mutant(
    "foreign-keys-not-checked",
    "P1",
    "A transaction that leaves deferred foreign keys broken makes the commit fail for everybody.",
    writer("      this.#checkForeignKeys();\n", ""),
    [NEIGHBOURS],
  ),
  mutant(
    "transactions-without-rules",
    "P1",
    "A transaction may commit, attach, and write the system table.",
    writer("    connection.authorize(whyNotInTransaction);\n", ""),
    [NEIGHBOURS, RULES],
  ),
  mutant(
    "or-rollback-is-taken",
    "P1",
    "OR ROLLBACK takes the neighbours in the batch with it.",
    {
      file: "src/sqlite/rules.ts",
      find: "if (!/rollback/i.test(sql)) return undefined;",
      replace: "if (sql.length >= 0) return undefined;",
    },
    [NEIGHBOURS, RULES],
  ),
  mutant(
    "async-transaction-is-taken",
    "P6",
    "A transaction function that returns a promise counts as done.",
    writer("      if (isThenable(value)) {", "      if (isThenable(value) && this.#isClosed) {"),
    [NEIGHBOURS, { test: "tests/node/transaction.test.ts" }],
  ),
  mutant(
    "lost-batch-is-not-told",
    "P6",
    "That SQLite rolled back the whole batch is told to one transaction only.",
    writer("    if (this.#connection.autocommit) {", "    if (this.#connection.autocommit && this.#isClosed) {"),
    [WRITER],
  ),
  mutant(
    "tx-outlives-its-function",
    "P4",
    "A tx that is kept works on after its function has ended.",
    writer("    this.#ended = true;\n    this.#connection.endIterations();", "    this.#connection.endIterations();"),
    [NEIGHBOURS],
  ),
  mutant(
    "chain-not-verified",
    "P7",
    "An epoch is applied whatever state and WAL it builds on.",
    state("      this.#verifyChain(rows, this.#rows, what);\n", ""),
    [VERIFY, SIMULATOR],
  ),
  mutant(
    "state-checksum-not-compared",
    "P7",
    "A node whose own bytes differ does not find out.",
    state("if (chain.state !== this.image.stateChecksum) {", "if (chain.state === undefined) {"),
    [VERIFY],
  ),
  mutant(
    "wal-hash-not-compared",
    "P2",
    "An epoch that builds on another WAL with the same content is applied.",
    state("if (this.#walHash !== undefined && chain.wal !== this.#walHash) {", "if (chain.wal === undefined) {"),
    [VERIFY],
  ),
  mutant(
    "epochs-out-of-order",
    "P2",
    "A WAL is applied whatever epoch it was verified for.",
    state("    this.#expectNext(verified.epoch);\n    const pageCountBefore", "    const pageCountBefore"),
    [VERIFY],
  ),
  mutant(
    "copy-of-an-epoch-is-applied",
    "P7",
    "The WAL of an epoch in the place of the next one is applied.",
    state("if (walHash === this.#walHash || (", "if (("),
    [VERIFY],
  ),
  mutant(
    "other-cluster-is-applied",
    "P7",
    "An epoch of another cluster is applied.",
    state("      this.#expectCluster(rows, this.#rows.clusterId, what);\n", ""),
    [VERIFY],
  ),
  mutant(
    "size-by-commit-alone",
    "P10",
    "A WAL may grow the database by any number of pages that it does not hold.",
    state("  if (found === expected) return expected;\n", "  if (found >= 0) return expected;\n"),
    [{ test: "tests/sqlite/own-size.test.ts" }],
  ),
  mutant(
    "chain-row-not-written",
    "P7",
    "Leaders write no chain: nobody finds out that his state differs.",
    {
      file: "src/node/next-rows.ts",
      find: "chain: walHash === undefined ? undefined :",
      replace: "chain: epoch >= 0 ? undefined :",
    },
    [{ test: "tests/node/follow.test.ts" }],
  ),
];
