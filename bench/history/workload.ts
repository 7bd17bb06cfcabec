/** What an application does to a database of some tens of megabytes, hour by hour. */
import type { Random } from "../../src/base/random.ts";
import type { ClusterNode, Transaction } from "../../src/mod.ts";

const ROWS = 80_000;
const ROWS_PER_FILL = 8000;
/** Of the updates, so many are of rows among the newest … */
const RECENT_SHARE = 0.5;
/** … so many; the others are of any row. */
const RECENT_ROWS = 4000;
const WORDS =
  "job queued running done failed retry worker queue priority attempt started finished region payload result".split(
    " ",
  );
const WORDS_PER_ROW = 56;

const INSERT = "INSERT INTO jobs(at, state, body) VALUES (?, 'queued', ?)";
const UPDATE = "UPDATE jobs SET state = ?, at = ?, body = ? WHERE id = ?";
const DELETE = "DELETE FROM jobs WHERE id = ?";

/** Jobs that come, change, mostly soon after they came, and go; as many as there were. */
export class Workload {
  readonly #node: ClusterNode;
  readonly #random: Random;
  #oldestId = 1;
  #newestId = 0;
  #steps = 0;

  constructor(node: ClusterNode, random: Random) {
    this.#node = node;
    this.#random = random;
  }

  /** Makes the first rows. */
  async fill(): Promise<void> {
    await this.#write((tx) =>
      tx.exec(
        "CREATE TABLE jobs(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL)",
      ),
    );
    while (this.#newestId < ROWS) {
      await this.#write((tx) => {
        for (let row = 0; row < ROWS_PER_FILL; row++) this.#insert(tx);
      });
    }
  }

  /** One epoch: two of three insert a job and delete the oldest, all of them change one. */
  async step(): Promise<void> {
    this.#steps++;
    await this.#write((tx) => {
      if (this.#steps % 3 !== 0) {
        this.#insert(tx);
        tx.run(DELETE, [this.#oldestId++]);
      }
      const among = this.#random.fraction() < RECENT_SHARE ? RECENT_ROWS : ROWS;
      const id = this.#newestId - Math.floor(this.#random.fraction() * among);
      tx.run(UPDATE, [this.#word(), this.#steps, this.#text(), id]);
    });
  }

  #insert(tx: Transaction): void {
    tx.run(INSERT, [this.#steps, this.#text()]);
    this.#newestId++;
  }

  async #write(fn: (tx: Transaction) => void): Promise<void> {
    await this.#node.transaction(fn).durable;
  }

  #text(): string {
    return Array.from({ length: WORDS_PER_ROW }, () => this.#word()).join(" ");
  }

  #word(): string {
    return WORDS[Math.floor(this.#random.fraction() * WORDS.length)] as string;
  }
}
