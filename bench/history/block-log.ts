/** Where a store of the benchmark keeps its objects' bytes. */
import { promisify } from "node:util";
import { deflateRaw, inflateRawSync } from "node:zlib";

export const BLOCK_BYTES: number = 1024 * 1024;
/** Blocks kept as they were read last. */
const CACHED_BLOCKS_MAX = 64;
/** Full blocks whose compression is under way; beyond, who writes waits. */
const COMPRESSING_MAX = 8;

const compress = promisify(deflateRaw);

interface Block {
  /** As it is, until it is compressed. */
  raw: Uint8Array | undefined;
  compressed: Uint8Array | undefined;
  /** Bytes that belong to something. */
  liveBytes: number;
}

/** Bytes one after the other in blocks, compressed when they are full and dropped when nothing in them is needed. */
export class BlockLog {
  readonly #isCompressing: boolean;
  readonly #blocks = new Map<number, Block>();
  readonly #cache = new Map<number, Uint8Array>();
  readonly #underWay = new Set<Promise<void>>();
  #end = 0;

  /** @param isCompressing a week of epochs does not fit into memory otherwise */
  constructor(isCompressing: boolean) {
    this.#isCompressing = isCompressing;
  }

  /** Keeps the bytes; gives their address. */
  append(bytes: Uint8Array): number {
    const address = this.#end;
    for (const { block, start, length, done } of spans(address, bytes.length)) {
      const { raw } = this.#open(block, length);
      raw.set(bytes.subarray(done, done + length), start);
      if (start + length === BLOCK_BYTES) this.#close(block);
    }
    this.#end += bytes.length;
    return address;
  }

  /** Copies bytes to `target`. */
  read(address: number, length: number, target: Uint8Array, offset: number): void {
    for (const span of spans(address, length)) {
      target.set(this.#bytesOf(span.block).subarray(span.start, span.start + span.length), offset + span.done);
    }
  }

  /** The bytes are not needed any more. */
  free(address: number, length: number): void {
    for (const span of spans(address, length)) {
      const block = this.#blocks.get(span.block) as Block;
      block.liveBytes -= span.length;
      if (block.liveBytes > 0 || (span.block + 1) * BLOCK_BYTES > this.#end) continue;
      this.#blocks.delete(span.block);
      this.#cache.delete(span.block);
    }
  }

  /** Resolves when so little is being compressed that more may come. */
  async settled(): Promise<void> {
    while (this.#underWay.size > COMPRESSING_MAX) await Promise.race(this.#underWay);
  }

  #open(index: number, byteLength: number): { raw: Uint8Array } {
    const block = this.#blocks.get(index) ?? { raw: new Uint8Array(BLOCK_BYTES), compressed: undefined, liveBytes: 0 };
    this.#blocks.set(index, block);
    block.liveBytes += byteLength;
    return { raw: block.raw as Uint8Array };
  }

  #close(index: number): void {
    const block = this.#blocks.get(index) as Block;
    if (!this.#isCompressing || block.raw === undefined) return;
    const compressing = compress(block.raw, { level: 1 }).then((bytes) => {
      block.compressed = new Uint8Array(bytes);
      block.raw = undefined;
      this.#underWay.delete(compressing);
    });
    this.#underWay.add(compressing);
  }

  #bytesOf(index: number): Uint8Array {
    const block = this.#blocks.get(index) as Block;
    if (block.raw !== undefined) return block.raw;
    const bytes = this.#cache.get(index) ?? inflateRawSync(block.compressed as Uint8Array, { chunkSize: BLOCK_BYTES });
    // The one that was used last is the last to go.
    this.#cache.delete(index);
    this.#cache.set(index, bytes);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= CACHED_BLOCKS_MAX) break;
      this.#cache.delete(oldest);
    }
    return bytes;
  }
}

/** The parts of a range of addresses by block. */
function* spans(
  address: number,
  byteLength: number,
): Generator<{ block: number; start: number; length: number; done: number }, void, undefined> {
  for (let done = 0; done < byteLength; ) {
    const start = (address + done) % BLOCK_BYTES;
    const length = Math.min(byteLength - done, BLOCK_BYTES - start);
    yield { block: Math.floor((address + done) / BLOCK_BYTES), start, length, done };
    done += length;
  }
}
