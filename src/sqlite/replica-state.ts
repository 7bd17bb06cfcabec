/**
 * A database at an epoch, and how it moves to the next one: look first, apply
 * only what is proven (docs/architecture.md P7).
 */
import { ClusterError, isClusterError } from "../errors.ts";
import { type EpochRange, parsePack } from "../format/pack.ts";
import { decodeSystemRows, SYSTEM_TABLE, type SystemRows } from "../format/system-rows.ts";
import { framePageOffset, PAGE_BYTES, parseWal, type Wal } from "../format/wal.ts";
import { sha256Hex } from "../platform/system.ts";
import { ChangedPages } from "./changed-pages.ts";
import { Connection, type SqliteContext } from "./connection.ts";
import { ReaderFile } from "./files.ts";
import { DurableImage, type PageSource, WalLayer } from "./image.ts";
import type { SqlValue } from "./values.ts";

/** An epoch that was verified against a state and can be applied to it. */
export interface VerifiedEpoch {
  readonly epoch: number;
  readonly wal: Wal;
  /** SHA-256 of the WAL object. */
  readonly walHash: string;
  readonly rows: SystemRows;
}

/** Reads the system table of any page source, applied or not. */
export class SystemReader {
  readonly #connection: Connection;
  #source: PageSource = new DurableImage();
  #looks = 0;

  constructor(context: SqliteContext) {
    const pinSource = () => ({ source: this.#source, version: this.#looks, release: () => {} });
    context.vfs.set("/system", { exists: () => true, open: () => new ReaderFile(pinSource) });
    this.#connection = new Connection(context, "/system", "read");
  }

  /**
   * The decoded system table.
   *
   * @param what names the source in errors
   */
  read(source: PageSource, what: string): SystemRows {
    this.#source = source;
    this.#looks++;
    let rows: SqlValue[][];
    try {
      rows = this.#connection.prepare(`SELECT key, value FROM ${SYSTEM_TABLE}`).allValues(undefined);
    } catch (error) {
      throw new ClusterError(
        "corrupt",
        "system_table_unreadable",
        `${what}: the system table ${SYSTEM_TABLE} cannot be read: is this the database of a cluster?`,
        { object: what, where: SYSTEM_TABLE },
        { cause: error },
      );
    }
    return decodeSystemRows(new Map(rows.map(([key, value]) => [String(key), value])), what);
  }

  close(): void {
    this.#connection.close();
  }
}

/** An image, its epoch, and what is known of how it came about. */
export class ReplicaState {
  readonly image: DurableImage;
  /** Which pages changed since the state that it began from. */
  readonly changes: ChangedPages;
  readonly #system: SystemReader;
  #epoch: number;
  #rows: SystemRows | undefined;
  #walHash: string | undefined;

  private constructor(system: SystemReader, image: DurableImage, epoch: number, rows: SystemRows | undefined) {
    this.#system = system;
    this.image = image;
    this.#epoch = epoch;
    this.#rows = rows;
    this.changes = new ChangedPages(epoch);
  }

  /** Before epoch 0: nothing. */
  static empty(system: SystemReader): ReplicaState {
    return new ReplicaState(system, new DurableImage(), -1, undefined);
  }

  /** The state that a snapshot holds; its bytes are proven by the next epoch. */
  static fromSnapshot(system: SystemReader, image: DurableImage, epoch: number, what: string): ReplicaState {
    return new ReplicaState(system, image, epoch, system.read(image, what));
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** The system table at the epoch. */
  get rows(): SystemRows {
    if (this.#rows === undefined) throw new Error("there is no epoch yet");
    return this.#rows;
  }

  /** SHA-256 of the epoch's WAL object; `undefined` if this node has not seen it. */
  get walHash(): string | undefined {
    return this.#walHash;
  }

  /**
   * Verifies the WAL of the next epoch against this state, changing nothing.
   *
   * @param what names the object in errors
   * @throws ClusterError `corrupt`: code `wal_corrupt` if the object itself is damaged, `diverged` if it
   *   builds on another state than ours; `invalid`: `wrong_cluster`, `unknown_format`
   */
  verify(bytes: Uint8Array, what: string): VerifiedEpoch {
    const wal = parseWal(bytes, what);
    const walHash = sha256Hex(wal.bytes);
    // SQLite salts every WAL file anew, and every epoch has a time of its own: the same one twice is a copy at the wrong place.
    if (walHash === this.#walHash || (this.#walHash === undefined && this.#holds(wal)))
      this.#refuse(what, "WAL", `another than that of epoch ${this.#epoch}`, "the same", true);
    const rows = this.#system.read(new WalLayer(this.image, wal), what);
    const headerPageCount = expectOwnSize(wal, what);
    if (this.#rows !== undefined) {
      this.#expectCluster(rows, this.#rows.clusterId, what);
      this.#verifyChain(rows, this.#rows, what);
      if (headerPageCount === undefined && wal.pageCount !== this.image.pageCount)
        this.#refuse(what, "pages of the database", String(this.image.pageCount), String(wal.pageCount));
    }
    return { epoch: this.#epoch + 1, wal, walHash, rows };
  }

  /** Applies what `verify` gave for this very state. Readers must have been released. */
  apply(verified: VerifiedEpoch): void {
    this.#expectNext(verified.epoch);
    const pageCountBefore = this.image.pageCount;
    this.image.apply(verified.wal);
    this.#advance(verified, pageCountBefore);
  }

  /**
   * An epoch of this node's own writer is durable, and its pages are in the image already.
   *
   * @param pageCountBefore of the image without it
   */
  settled(verified: VerifiedEpoch, pageCountBefore: number): void {
    this.#expectNext(verified.epoch);
    this.#advance(verified, pageCountBefore);
  }

  /**
   * Applies a pack that begins at this state or before it. Its bytes are proven by the epoch after it: what turns out
   * wrong leaves a state that must not be used.
   *
   * @throws ClusterError `corrupt`: `wal_corrupt`, `wrong_pack`; `invalid`: `wrong_cluster`, `unknown_format`
   */
  applyPack(bytes: Uint8Array, range: EpochRange, what: string): void {
    if (range.from > this.#epoch || range.to <= this.#epoch)
      throw new Error(`${what} does not lead on from epoch ${this.#epoch}`);
    const { clusterId } = this.rows;
    const wal = parsePack(bytes, clusterId, range, what);
    expectOwnSize(wal, what);
    const pageCountBefore = this.image.pageCount;
    this.image.apply(wal);
    const rows = this.#system.read(this.image, what);
    this.#expectCluster(rows, clusterId, what);
    this.changes.add(range.to, changedBy(wal, pageCountBefore));
    this.#epoch = range.to;
    this.#rows = rows;
    this.#walHash = undefined;
  }

  /**
   * Whether the epoch after a pack says that the pack leads to the right state; nothing is applied.
   *
   * @throws ClusterError `corrupt`: `wal_corrupt`, `wrong_pack` for the pack
   */
  judgePack(
    bytes: Uint8Array,
    range: EpochRange,
    what: string,
    next: { readonly bytes: Uint8Array; readonly key: string } | undefined,
  ): "confirmed" | "contradicted" | "untold" {
    const { clusterId } = this.rows;
    const wal = parsePack(bytes, clusterId, range, what);
    expectOwnSize(wal, what);
    if (next === undefined) return "untold";
    try {
      const layers = new WalLayer(new WalLayer(this.image, wal), parseWal(next.bytes, next.key));
      const { chain, clusterId: found } = this.#system.read(layers, next.key);
      if (found !== clusterId || chain?.epoch !== range.to) return "untold";
      return chain.state === this.image.checksumAfter(wal) ? "confirmed" : "contradicted";
    } catch (error) {
      if (!isClusterError(error)) throw error;
      return "untold";
    }
  }

  /** Whether `next`, read as the epoch after `own`, says that it builds on `own`, which is not applied. */
  isSuccessor(own: Wal, ownHash: string, next: Uint8Array, what: string): "yes" | "no" | "untold" {
    const rows = this.#system.read(new WalLayer(new WalLayer(this.image, own), parseWal(next, what)), what);
    if (rows.chain?.epoch !== this.#epoch + 1) return "untold";
    return rows.chain.wal === ownHash ? "yes" : "no";
  }

  /** Takes the WAL object of the epoch itself, which a snapshot does not hold: its hash, if its pages are ours. */
  adoptWal(bytes: Uint8Array, what: string): void {
    const wal = parseWal(bytes, what);
    if (wal.pageCount !== this.image.pageCount)
      this.#refuse(what, "pages", String(this.image.pageCount), String(wal.pageCount));
    const other = this.#pageThatDiffers(wal);
    if (other !== undefined) this.#refuse(what, `page ${other}`, "the snapshot's bytes", "other bytes");
    this.#walHash = sha256Hex(wal.bytes);
  }

  /** Whether the WAL would change nothing. */
  #holds(wal: Wal): boolean {
    return wal.pageCount === this.image.pageCount && this.#pageThatDiffers(wal) === undefined;
  }

  /** A page of the image that the WAL would change. */
  #pageThatDiffers(wal: Wal): number | undefined {
    const lastFrames = new Map<number, number>();
    for (const [frame, pageNumber] of wal.pageNumbers.entries()) lastFrames.set(pageNumber, frame);
    for (const [pageNumber, frame] of lastFrames) {
      if (pageNumber > this.image.pageCount) continue;
      if (!isSamePage(wal, frame, this.image.page(pageNumber))) return pageNumber;
    }
    return undefined;
  }

  #expectNext(epoch: number): void {
    if (epoch !== this.#epoch + 1) throw new Error(`epoch ${epoch} does not follow ${this.#epoch}`);
  }

  #expectCluster(rows: SystemRows, expected: string, what: string): void {
    const found = rows.clusterId;
    if (found === expected) return;
    throw new ClusterError("invalid", "wrong_cluster", `${what} belongs to cluster ${found}, not ${expected}`, {
      object: what,
      expected,
      found,
    });
  }

  #advance(verified: VerifiedEpoch, pageCountBefore: number): void {
    this.changes.add(verified.epoch, changedBy(verified.wal, pageCountBefore));
    this.#epoch = verified.epoch;
    this.#rows = verified.rows;
    this.#walHash = verified.walHash;
  }

  /** A leader that does not write the chain leaves the row of an earlier one: then there is nothing to check. */
  #verifyChain(rows: SystemRows, before: SystemRows, what: string): void {
    const { chain } = rows;
    if (chain === undefined || (chain.epoch === before.chain?.epoch && chain.wal === before.chain.wal)) return;
    if (chain.epoch !== this.#epoch)
      this.#refuse(what, "epoch before it", String(this.#epoch), String(chain.epoch), true);
    if (this.#walHash !== undefined && chain.wal !== this.#walHash) {
      this.#refuse(what, `SHA-256 of epoch ${this.#epoch}'s WAL`, this.#walHash, chain.wal);
    }
    if (chain.state !== this.image.stateChecksum) {
      this.#refuse(what, `state checksum of epoch ${this.#epoch}`, this.image.stateChecksum, chain.state);
    }
  }

  #refuse(object: string, where: string, expected: string, found: string, isMisplaced = false): never {
    throw new ClusterError(
      "corrupt",
      "diverged",
      `${object} does not continue the database at epoch ${this.#epoch} and was not applied: ${where}: here ${expected}, there ${found}`,
      { object, where, expected, found, epoch: this.#epoch, isMisplaced },
    );
  }
}

/** Whether an epoch says of itself that it does not come next: it is at the wrong place, and tells nothing of the state. */
export function isMisplaced(error: ClusterError): boolean {
  return error.code === "diverged" && error.details["isMisplaced"] === true;
}

/** Whether an epoch builds on another state than the one that it was verified against. */
export function contradicts(error: ClusterError): boolean {
  return error.code === "diverged" && error.details["isMisplaced"] !== true;
}

/** Where page 1 keeps the size of the database: https://www.sqlite.org/fileformat2.html#in_header_database_size */
const PAGE_COUNT_OFFSET = 28;

/**
 * The size of the database that page 1 tells, `undefined` if the WAL does not hold it: then the size has not changed.
 * Refuses a WAL whose commit tells of another one: nothing else bounds how many pages it adds without writing them, and
 * each takes memory.
 */
function expectOwnSize({ bytes, pageNumbers, pageCount: found }: Wal, what: string): number | undefined {
  const frame = pageNumbers.lastIndexOf(1);
  if (frame === -1) return undefined;
  const start = bytes.byteOffset + framePageOffset(frame) + PAGE_COUNT_OFFSET;
  const expected = new DataView(bytes.buffer, start, 4).getUint32(0);
  if (found === expected) return expected;
  const where = "commit, pages of the database";
  throw new ClusterError(
    "corrupt",
    "wal_corrupt",
    `${what} is damaged and was not applied: ${where}: page 1 tells of ${expected}, the commit of ${found}`,
    { object: what, where, expected, found },
  );
}

/** The pages that a WAL writes, and those that it cuts off: should the database grow again, they are not what they were. */
function changedBy({ pageNumbers, pageCount }: Wal, pageCountBefore: number): Uint32Array {
  const cutCount = Math.max(0, pageCountBefore - pageCount);
  if (cutCount === 0) return pageNumbers;
  const pages = new Uint32Array(pageNumbers.length + cutCount);
  pages.set(pageNumbers);
  for (let cut = 0; cut < cutCount; cut++) pages[pageNumbers.length + cut] = pageCount + 1 + cut;
  return pages;
}

function isSamePage(wal: Wal, frame: number, page: Uint8Array): boolean {
  const { bytes } = wal;
  const start = framePageOffset(frame);
  for (let i = 0; i < PAGE_BYTES; i++) {
    if (bytes[start + i] !== page[i]) return false;
  }
  return true;
}
