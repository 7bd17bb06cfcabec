/** The cluster that a command is about. */
import type { Command } from "commander";
import { LittleBigCluster } from "../cluster.ts";
import type { ClusterOptions } from "../config.ts";
import { ClusterError } from "../errors.ts";
import type { ObjectStore } from "../store/store.ts";
import { type CliContext, globalOptions, withProgress } from "./context.ts";
import { type Head, readHead } from "./head.ts";

/** A store and the cluster in it. */
export interface OpenCluster {
  readonly store: ObjectStore;
  readonly cluster: LittleBigCluster;
}

/** The cluster of the store that the command names; its id is read from there. */
export async function openCluster(
  context: CliContext,
  command: Command,
  settings: Partial<ClusterOptions> = {},
  { ignoreId = false }: { readonly ignoreId?: boolean } = {},
): Promise<OpenCluster> {
  const { store: url, id } = globalOptions(command);
  const store = context.openStore(url);
  const { rows } = await headOf(context, store);
  if (!ignoreId) expectId(id, rows.clusterId, store);
  return { store, cluster: makeCluster(rows.clusterId, store, settings) };
}

/**
 * An id on the command line says which cluster is meant.
 *
 * @throws ClusterError `invalid`/`wrong_cluster`
 */
export function expectId(id: string | undefined, found: string, { url }: ObjectStore): void {
  if (id === undefined || id === found) return;
  throw new ClusterError("invalid", "wrong_cluster", `the cluster at ${url} is ${found}, not ${id}`, {
    store: url,
    expected: id,
    found,
  });
}

/** The newest epoch of the store. */
export function headOf(context: CliContext, store: ObjectStore): Promise<Head> {
  return withProgress(context, "reading the newest epoch", (options) => readHead(store, options));
}

export function makeCluster(id: string, store: ObjectStore, settings: Partial<ClusterOptions> = {}): LittleBigCluster {
  return new LittleBigCluster({ ...settings, id, store });
}
