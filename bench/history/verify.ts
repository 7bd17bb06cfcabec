/** The restore drill over the prepared history, against getting and hashing the same bytes. Prints JSON. */
import process from "node:process";
import { clusterIn, download, MB, preparedStore } from "./large-database.ts";
import { ReadsOf } from "./reads.ts";

export interface VerifyResult {
  readonly objects: number;
  readonly megabytes: number;
  readonly verifyMs: number;
  readonly downloadMs: number;
  readonly integrityMs: number;
  readonly isRestorable: boolean;
}

const store = preparedStore(process.argv[2] ?? "", 0);
const reads = new ReadsOf(store);
let beganMs = performance.now();
const { isRestorable, objects } = await clusterIn(reads.store).verify({ integrityCheck: false });
const verifyMs = performance.now() - beganMs;
const downloadMs = await download(store, reads.ranges);
const past = await clusterIn(store).openAt("now");
beganMs = performance.now();
past.query("PRAGMA integrity_check");
const integrityMs = performance.now() - beganMs;
past.close();
const megabytes = reads.cost.bytes / MB;
const result: VerifyResult = { objects, megabytes, verifyMs, downloadMs, integrityMs, isRestorable };
process.stdout.write(`${JSON.stringify(result)}\n`);
