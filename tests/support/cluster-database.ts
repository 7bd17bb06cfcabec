import { encodeChain } from "../../src/format/system-rows.ts";
import { parseWal } from "../../src/format/wal.ts";
import { sha256Hex } from "../../src/platform/system.ts";
import { type DurableImage, WalLayer } from "../../src/sqlite/image.ts";
import { Replica } from "../../src/sqlite/replica.ts";
import { type Transaction, Writer } from "../../src/sqlite/writer.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { standingClock } from "./standing-clock.ts";

/** A replica of nothing. */
export function newReplica(seed = 1): Promise<Replica> {
  return Replica.create(standingClock, new SeededRandom(seed));
}

/** A replica and its writer, led epoch by epoch without a store. */
export class Led {
  readonly replica: Replica;
  writer: Writer;
  /** The WAL objects, by epoch. */
  readonly wals: Uint8Array[] = [];

  private constructor(replica: Replica, writer: Writer) {
    this.replica = replica;
    this.writer = writer;
  }

  /** A database at epoch 0. */
  static async create(script = "", seed = 1, clusterId = "test"): Promise<Led> {
    const replica = await newReplica(seed);
    const writer = Writer.create(replica.context, replica.state.image, { cluster_id: clusterId, format: 1 });
    const led = new Led(replica, writer);
    if (script !== "") writer.transact((tx) => tx.exec(script));
    led.commit({ chain: null });
    return led;
  }

  get image(): DurableImage {
    return this.replica.state.image;
  }

  /** Seals what the writer has. */
  seal(rows: Record<string, string | number | null> = {}): Uint8Array {
    const { state } = this.replica;
    const chain =
      state.walHash === undefined
        ? null
        : encodeChain({ epoch: state.epoch, wal: state.walHash, state: state.image.stateChecksum });
    return this.writer.seal({ last_update: `after ${state.epoch}`, chain, ...rows }).bytes;
  }

  /** Seals, and makes it durable. */
  commit(rows: Record<string, string | number | null> = {}): Uint8Array {
    const bytes = this.seal(rows);
    this.settle(bytes);
    this.wals.push(bytes);
    return bytes;
  }

  /** What was sealed is durable. */
  settle(bytes: Uint8Array): void {
    const layer = new WalLayer(this.image, parseWal(bytes, "sealed"));
    this.replica.settle(this.writer, sha256Hex(bytes), this.replica.system.read(layer, "sealed"));
  }

  /** One transaction, one epoch. */
  write<T>(fn: (tx: Transaction) => T): T {
    const value = this.writer.transact(fn);
    this.commit();
    return value;
  }

  /** What a fenced leader does. */
  dropPending(): void {
    this.writer.close();
    this.writer = this.replica.openWriter();
  }

  close(): void {
    this.writer.close();
    this.replica.close();
  }
}

/** The whole database file. */
export function bytesOf(image: DurableImage): Uint8Array {
  const pin = image.pin();
  try {
    return pin.copy(0, pin.byteLength);
  } finally {
    pin.release();
  }
}
