/** Most keys that share one array: what an insertion or a deletion moves. */
const CHUNK_KEYS_MAX = 1024;

/**
 * Keys in their order, a million of them, most of which come at the end and go at the beginning. Kept in chunks, so that
 * neither end costs a move of all the others. Keys are ASCII, as the library's are: JavaScript's order is that of bytes.
 */
export class SortedKeys {
  /** None is empty. */
  readonly #chunks: string[][] = [];

  /** Adds a key that is not there. */
  add(key: string): void {
    const at = Math.max(0, this.#chunkAfter(key) - 1);
    const chunk = this.#chunks[at];
    if (chunk === undefined) {
      this.#chunks.push([key]);
      return;
    }
    chunk.splice(indexFrom(chunk, key), 0, key);
    if (chunk.length <= CHUNK_KEYS_MAX) return;
    // At the end nothing comes between any more: chunks there stay full.
    const isLast = at === this.#chunks.length - 1;
    this.#chunks.splice(at + 1, 0, chunk.splice(isLast ? chunk.length - 1 : chunk.length / 2));
  }

  /** Removes a key that is there. */
  remove(key: string): void {
    const at = this.#chunkAfter(key) - 1;
    const chunk = this.#chunks[at];
    if (chunk === undefined) return;
    const index = indexFrom(chunk, key);
    if (chunk[index] !== key) return;
    chunk.splice(index, 1);
    if (chunk.length === 0) this.#chunks.splice(at, 1);
  }

  /** The keys at or after `key`. */
  *from(key: string): Generator<string, void, undefined> {
    const first = Math.max(0, this.#chunkAfter(key) - 1);
    for (let at = first; at < this.#chunks.length; at++) {
      const chunk = this.#chunks[at] as string[];
      for (let index = at === first ? indexFrom(chunk, key) : 0; index < chunk.length; index++) {
        yield chunk[index] as string;
      }
    }
  }

  /** The first chunk whose keys are all after `key`. */
  #chunkAfter(key: string): number {
    let [low, high] = [0, this.#chunks.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#chunks[middle]?.[0] as string) <= key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Where the first key at or after this one is. */
function indexFrom(keys: readonly string[], key: string): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
