import { onTestFinished } from "vitest";
import { type DiffSide, diffStates, type RowChange } from "../../src/history/diff.ts";
import { systemClock } from "../../src/platform/system.ts";
import { CHUNK_BYTES, DurableImage } from "../../src/sqlite/image.ts";
import type { Transaction } from "../../src/sqlite/writer.ts";
import { bytesOf, Led, newReplica } from "./cluster-database.ts";

/** A database, and the means to keep what it was. */
export class Subject {
  readonly led: Led;

  private constructor(led: Led) {
    this.led = led;
  }

  static async create(script: string): Promise<Subject> {
    const subject = new Subject(await Led.create(script));
    onTestFinished(() => subject.led.close());
    return subject;
  }

  get side(): DiffSide {
    const { context, state } = this.led.replica;
    return { context, image: state.image };
  }

  /** The present state in a SQLite instance of its own, where it stays. */
  async keep(): Promise<DiffSide> {
    const image = copyOf(this.led.image);
    const replica = await newReplica();
    onTestFinished(() => replica.close());
    return { context: replica.context, image };
  }

  /** What a transaction changes. */
  async changesOf(fn: (tx: Transaction) => void): Promise<RowChange[]> {
    const before = await this.keep();
    this.led.write(fn);
    return await changes(before, this.side);
  }
}

/** The same pages in memory of their own. */
export function copyOf(image: DurableImage): DurableImage {
  const bytes = bytesOf(image);
  const chunks = Array.from({ length: Math.ceil(bytes.length / CHUNK_BYTES) }, (_, index) =>
    bytes.slice(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES),
  );
  return DurableImage.adopt(chunks, image.pageCount);
}

/** Every change between two states. */
export async function changes(before: DiffSide, after: DiffSide): Promise<RowChange[]> {
  const found: RowChange[] = [];
  for await (const change of diffStates(before, after, { clock: systemClock })) found.push(change);
  return found;
}
