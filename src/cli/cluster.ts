/** The cluster that a command is about. */
import type { Command } from "commander";
import { LittleBigCluster } from "../cluster.ts";
import type { ClusterOptions } from "../config.ts";
import type { ObjectStore } from "../store/store.ts";
import { type CliContext, globalOptions, withProgress } from "./context.ts";
import { type Head, readHead } from "./head.ts";

/** A store and the cluster in it. */
export interface OpenCluster {
  readonly store: ObjectStore;
  readonly cluster: LittleBigCluster;
}

/** The cluster of the store that the command names; its id is read from there unless it is given. */
export async function openCluster(
  context: CliContext,
  command: Command,
  settings: Partial<ClusterOptions> = {},
  { ignoreId = false }: { readonly ignoreId?: boolean } = {},
): Promise<OpenCluster> {
  const { store: url, id } = globalOptions(command);
  const store = context.openStore(url);
  const named = ignoreId ? undefined : id;
  const clusterId = named ?? (await headOf(context, store)).rows.clusterId;
  return { store, cluster: makeCluster(clusterId, store, settings) };
}

/** The newest epoch of the store. */
export function headOf(context: CliContext, store: ObjectStore): Promise<Head> {
  return withProgress(context, "reading the newest epoch", (options) => readHead(store, options));
}

export function makeCluster(id: string, store: ObjectStore, settings: Partial<ClusterOptions> = {}): LittleBigCluster {
  return new LittleBigCluster({ ...settings, id, store });
}
