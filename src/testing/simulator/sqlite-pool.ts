/**
 * SQLite instances for processes that come and go by the thousand. Making one takes 16 ms and real time; setting the
 * memory of one back to its first moment takes a tenth of a millisecond, leaves nothing of its last user, and happens
 * between two events.
 */
import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import { systemClock } from "../../platform/system.ts";
import type { SqliteContext } from "../../sqlite/connection.ts";
import { createSqlite, type OpenSqlite } from "../../sqlite/context.ts";
import { SeededRandom } from "./seeded-random.ts";

/** Of instances that nobody uses. */
const NO_RANDOM = new SeededRandom(0);

interface PooledInstance {
  readonly context: SqliteContext;
  /** Its memory at its first moment. */
  readonly memory: Uint8Array;
}

export class SqlitePool {
  readonly #free: PooledInstance[] = [];

  /** Makes instances until so many are free. */
  async fill(count: number): Promise<void> {
    while (this.#free.length < count) {
      const context = await createSqlite(systemClock, new SeededRandom(0));
      this.#free.push({ context, memory: context.sqlite.save() });
    }
  }

  /** What one process takes from the pool, until it is released. */
  lease(): SqliteLease {
    return new SqliteLease(this.#free);
  }
}

export class SqliteLease {
  readonly #free: PooledInstance[];
  readonly #taken: PooledInstance[] = [];

  constructor(free: PooledInstance[]) {
    this.#free = free;
  }

  /** For `ClusterOptions.openSqlite`. */
  readonly open: OpenSqlite = async (clock: Clock, random: Random) => {
    const instance = this.#free.pop();
    if (instance === undefined) throw new Error("the simulation needs more SQLite instances: fill the pool with more");
    this.#taken.push(instance);
    const { sqlite, vfs } = instance.context;
    sqlite.restore(instance.memory);
    vfs.reset(clock, random);
    return instance.context;
  };

  /** Gives everything back: nobody uses it any more. */
  release(): void {
    for (const instance of this.#taken.splice(0)) {
      instance.context.vfs.reset(systemClock, NO_RANDOM);
      this.#free.push(instance);
    }
  }
}
