/** Where a node's rollbacks read what was: the history in its store. */
import { ClusterHistory } from "../history/cluster-history.ts";
import { restore, restoreLimits } from "../history/restore.ts";
import type { Replica } from "../sqlite/replica.ts";
import type { NodeParts } from "./parts.ts";
import type { RollbacksParts } from "./rollback.ts";

/** The parts of {@link Rollbacks} for a node. */
export function rollbacksParts(parts: NodeParts, replica: Replica): RollbacksParts {
  const { store, log, settings } = parts;
  return {
    clock: settings.clock,
    epoch: () => replica.epoch,
    image: () => replica.state.image,
    resolve: async (point, signal) => (await new ClusterHistory(parts).resolve(point, signal)).epoch,
    readState: async (upTo, { signal, onProgress }) => {
      const { system } = replica;
      return (await restore({ ...restoreLimits(settings), store, system, log, signal, onProgress, upTo })).state;
    },
  };
}
