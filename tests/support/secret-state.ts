import { toBase64Url } from "../../src/base/bytes.ts";
import { systemRandom } from "../../src/platform/system.ts";
import { bytesOf, Led } from "./cluster-database.ts";
import { holds } from "./sqlite-file.ts";

/** A cluster's database with a secret, and where its bytes are. */
export interface SecretState {
  readonly led: Led;
  readonly secret: string;
}

/** A database of several epochs with tables, rows and a secret in its system table. */
export async function secretState(rows = 500): Promise<SecretState> {
  const led = await Led.create("CREATE TABLE items(name TEXT PRIMARY KEY, body BLOB)");
  const secret = toBase64Url(systemRandom.bytes(32));
  led.commit({ secret, leader: JSON.stringify({ uuid: "u", az: "AZ1", address: "127.0.0.1:1" }) });
  led.write((tx) => {
    for (let i = 0; i < rows; i++) tx.run("INSERT INTO items VALUES (?, zeroblob(900))", [`row ${i}`]);
  });
  led.write((tx) => tx.run("DELETE FROM items WHERE name LIKE '%7%'"));
  return { led, secret };
}

/** Pages that hold the text. */
export function pagesWith(bytes: Uint8Array, text: string): number[] {
  const pages: number[] = [];
  for (let page = 1; page * 4096 <= bytes.length; page++) {
    if (holds(bytes.subarray((page - 1) * 4096, page * 4096), text)) pages.push(page);
  }
  return pages;
}

/** Makes SQLite leave copies of the secret in free space: in a page that it gave up, and inside the system table's own. */
export async function stateWithOldCopies(): Promise<SecretState> {
  const subject = await secretState();
  const { led } = subject;
  // So much that the table's rows take several pages, and then one again.
  const fillers = Array.from({ length: 6 }, (_, index) => `filler ${index}`);
  led.commit(Object.fromEntries(fillers.map((key) => [key, "x".repeat(2500)])));
  led.commit(Object.fromEntries(fillers.map((key) => [key, null])));
  return subject;
}

export { bytesOf };
