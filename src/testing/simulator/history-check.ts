/** The bucket when everybody has left: what a cluster that starts from it would find. */
import { LittleBigCluster } from "../../cluster.ts";
import { parseClusterOptions } from "../../config.ts";
import { errorMessage } from "../../errors.ts";
import { restoreReplica } from "../../history/past.ts";
import { nodeParts } from "../../node/join.ts";
import type { OpenSqlite } from "../../sqlite/context.ts";
import type { ObjectStore } from "../../store/store.ts";
import type { Violation } from "../checkers/operation.ts";

/**
 * Reads the newest state, and verifies every object.
 *
 * @param stateChecksum of the newest epoch, by who saw it being created
 */
export async function checkHistory(
  id: string,
  store: ObjectStore,
  openSqlite: OpenSqlite,
  stateChecksum: string | undefined,
): Promise<Violation[]> {
  const options = { id, store, openSqlite };
  try {
    const replica = await restoreReplica(nodeParts(parseClusterOptions(options)), undefined);
    const restored = replica.state.image.stateChecksum;
    replica.close();
    const rule = "the bucket does not hold the newest state";
    if (restored !== stateChecksum) return [{ promise: "P1", rule, text: `${restored}, not ${stateChecksum}` }];
    const { findings, isRestorable } = await new LittleBigCluster(options).verify();
    const harmful = findings.filter(({ isHarmless }) => !isHarmless);
    if (isRestorable && harmful.length === 0) return [];
    return [{ promise: "P1, P7", rule: "verify finds damage", text: JSON.stringify(harmful) }];
  } catch (error) {
    return [{ promise: "P1", rule: "the history cannot be read", text: errorMessage(error) }];
  }
}
