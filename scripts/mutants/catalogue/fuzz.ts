/** What reads bytes and texts of others, and the random input that shows it: each test of tests/fuzz can fail. */
import { type Edit, type Mutant, mutant } from "../mutant.ts";

const WAL = { test: "tests/fuzz/wal.test.ts" };
const CHAIN = { test: "tests/fuzz/chain.test.ts" };
const WIRE = { test: "tests/fuzz/wire.test.ts" };
const LISTING = { test: "tests/fuzz/listing.test.ts" };
const MEMBERS = { test: "tests/fuzz/members.test.ts" };
const POINTS = { test: "tests/fuzz/points.test.ts" };
const WORDS = { test: "tests/fuzz/words.test.ts" };
const DIFFERENTIAL = { test: "tests/fuzz/sqlite-differential.test.ts" };
const LIMITS = { test: "tests/fuzz/sqlite-limits.test.ts" };
const HUGE = { test: "tests/fuzz/sqlite-huge.test.ts" };

const frames = (find: string, replace: string): Edit => ({ file: "src/format/stream-frames.ts", find, replace });
const state = (find: string, replace: string): Edit => ({ file: "src/sqlite/replica-state.ts", find, replace });

export const FUZZ_MUTANTS: readonly Mutant[] = [
  mutant(
    "half-a-checksum",
    "P7",
    "Of the two words of a WAL's checksums only the first is compared.",
    {
      file: "src/format/wal.ts",
      find: "if (found[0] === this.#first >>> 0 && found[1] === this.#second >>> 0) return;",
      replace: "if (found[0] === this.#first >>> 0) return;",
    },
    [WAL],
  ),
  mutant(
    "pack-salts-without-epochs",
    "P7",
    "The salts of a pack tell its cluster, and not its epochs.",
    {
      file: "src/format/pack.ts",
      find: "return [fnv1a(text, 0x811c9dc5), fnv1a(text, 0x01000193)];",
      replace: "return [fnv1a(clusterId, 0x811c9dc5), fnv1a(clusterId, 0x01000193)];",
    },
    [{ ...WAL, name: "P7: a pack" }],
  ),
  mutant(
    "hash-only-if-states-differ",
    "P2",
    "The SHA-256 of the epoch before counts only where the state checksum differs as well.",
    state(
      "if (this.#walHash !== undefined && chain.wal !== this.#walHash) {",
      "if (this.#walHash !== undefined && chain.wal !== this.#walHash && chain.state !== this.image.stateChecksum) {",
    ),
    [CHAIN],
  ),
  mutant(
    "unreadable-is-a-mistake",
    "P7",
    "An epoch whose system table cannot be read is refused with SQLite's word for it, not as damage.",
    state(
      '    } catch (error) {\n      throw new ClusterError(\n        "corrupt",\n        "system_table_unreadable",',
      '    } catch (error) {\n      if (error !== undefined) throw error;\n      throw new ClusterError(\n        "corrupt",\n        "system_table_unreadable",',
    ),
    [CHAIN],
  ),
  mutant(
    "frame-header-not-authenticated",
    "P9",
    "The kind and the epoch of a frame may be exchanged.",
    {
      file: "src/net/stream-mac.ts",
      find: ".update(sequence).update(header).update(bodyHash)",
      replace: ".update(sequence).update(header.subarray(0, 4)).update(bodyHash)",
    },
    [WIRE],
  ),
  mutant(
    "frame-memory-by-its-claim",
    "P10",
    "Memory for a frame is taken as soon as its length is told.",
    frames(
      "this.#bodyBytes = readBodyBytes(this.#joined());",
      "this.#bodyBytes = readBodyBytes(this.#joined());\n        Object.assign(this, { room: new Uint8Array(this.#bodyBytes) });",
    ),
    [WIRE],
  ),
  mutant(
    "state-checksum-of-any-shape",
    "P7",
    "The state checksum in a chain row may be anything.",
    { file: "src/format/system-rows.ts", find: ' && isHex(value["state"], 16);', replace: ";" },
    [{ ...WIRE, name: "the system table" }],
  ),
  mutant(
    "listing-of-other-keys",
    "P2",
    "A listing may name keys that were not asked for.",
    {
      file: "src/store/s3-list.ts",
      find: "if (!key.startsWith(listing.prefix)) throw",
      replace: 'if (key === "") throw',
    },
    [LISTING],
  ),
  mutant(
    "sizes-in-any-notation",
    "P7",
    "A row of a listing without a size is an object of no bytes.",
    {
      file: "src/store/s3-list.ts",
      find: "return /^\\d+$/.test(text) ? Number(text) : Number.NaN;",
      replace: "return Number(text);",
    },
    [LISTING],
  ),
  mutant(
    "closed-by-any-tag",
    "P7",
    "A listing with other closing tags than are due is read, and rows of it are lost.",
    {
      file: "src/store/s3-xml.ts",
      find: "if (!isWhole || XMLValidator.validate(text) !== true) return undefined;",
      replace: "if (!isWhole || XMLValidator === undefined) return undefined;",
    },
    [LISTING],
  ),
  mutant(
    "member-address-unbounded",
    "P10",
    "A member may tell an address of any length.",
    {
      file: "src/node/member-shape.ts",
      find: "  address: z.string().max(300),\n  role:",
      replace: "  address: z.string(),\n  role:",
    },
    [MEMBERS],
  ),
  mutant(
    "key-with-a-tail",
    "P2",
    "A key with something behind its name counts as the object of that epoch.",
    { file: "src/format/keys.ts", find: "-(\\d{20})\\.pack)$/;", replace: "-(\\d{20})\\.pack)/;" },
    [WORDS],
  ),
  mutant(
    "thirtieth-of-february",
    "P7",
    "A point on a day that there is not means another day.",
    {
      file: "src/history/parse-point.ts",
      find: "if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== day) return undefined;",
      replace: "if (Number.isNaN(ms)) return undefined;",
    },
    [POINTS],
  ),
  mutant(
    "dots-are-signed-as-written",
    "P9",
    "A path with dot segments is signed as it is written, and served as another.",
    { file: "src/net/path.ts", find: "=:@-][", replace: "=:@.-][" },
    [WORDS],
  ),
  mutant(
    "any-port",
    "P10",
    "An address may name a port that there is not.",
    { file: "src/net/address.ts", find: "if (!(port <= PORT_MAX)) throw", replace: "if (Number.isNaN(port)) throw" },
    [WORDS],
  ),
  mutant(
    "semicolon-in-brackets",
    "P8",
    "The shell ends a statement at a semicolon in a name in brackets.",
    { file: "src/cli/sql/split.ts", find: ', "[": "]" };', replace: " };" },
    [WORDS],
  ),
  mutant(
    "foreign-keys-off",
    "P8",
    "Foreign keys are not enforced.",
    { file: "src/sqlite/writer.ts", find: "PRAGMA foreign_keys = ON;", replace: "PRAGMA foreign_keys = OFF;" },
    [DIFFERENTIAL],
  ),
  mutant(
    "too-large-may-be-tried-again",
    "P10",
    "A transaction that needs more memory than SQLite can have counts as one that may be tried again.",
    {
      file: "src/node/leadership.ts",
      find: 'if (!isClusterError(cause) || cause.code !== "SQLITE_NOMEM") return lost;',
      replace: 'if (!isClusterError(cause) || cause.code !== "") return lost;',
    },
    [{ ...LIMITS, name: "has no memory for" }],
  ),
  mutant(
    "offsets-of-32-bits",
    "P2",
    "Beyond 4 GiB a database is read from its beginning again.",
    {
      file: "src/sqlite/image.ts",
      find: "const chunk = this.#chunks[Math.floor(offset / CHUNK_BYTES)] as Uint8Array;",
      replace: "const chunk = this.#chunks[Math.floor((offset >>> 0) / CHUNK_BYTES)] as Uint8Array;",
    },
    [HUGE],
  ),
];
