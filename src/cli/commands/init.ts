/** `lbc init` and `lbc import`: making a cluster. */
import { statSync } from "node:fs";
import type { Command } from "commander";
import { ClusterError } from "../../errors.ts";
import type { ObjectStore } from "../../store/store.ts";
import { makeCluster } from "../cluster.ts";
import { type CliContext, globalOptions, withProgress } from "../context.ts";
import { usageError } from "../failure.ts";
import { printJson } from "../output.ts";
import { ask, canAsk } from "../questions.ts";

export function addInit(program: Command, context: CliContext): void {
  program
    .command("init")
    .description("make a cluster in the store; proves first that the store can hold one")
    .option("--from <file>", "an SQLite database that it begins with")
    .addHelpText("after", "\nThe cluster's name is given with --id; on a terminal it is asked for.")
    .action((options: { from?: string }, command: Command) => initialize(context, command, options.from));
  program
    .command("import")
    .description("make a cluster in the store that begins with an SQLite database: init --from FILE")
    .argument("<file>", "the SQLite database")
    .action((file: string, _options: object, command: Command) => initialize(context, command, file));
}

async function initialize(context: CliContext, command: Command, from: string | undefined): Promise<void> {
  const { store: url, id: named, json } = globalOptions(command);
  const store = context.openStore(url);
  if (from !== undefined) expectFile(from);
  const id = named ?? (await askId(context, store));
  const label = from === undefined ? "making the cluster" : `importing ${from}`;
  const cluster = makeCluster(id, store);
  await withProgress(context, label, (options) =>
    cluster.init({ ...options, ...(from === undefined ? {} : { from }) }),
  );
  if (json) return await printJson(context, { id, store: store.url, epoch: 0, from: from ?? null });
  await context.stderr.write(`The cluster ${id} is at ${store.url}; nodes can join it.\n`);
}

async function askId(context: CliContext, { url }: ObjectStore): Promise<string> {
  if (!canAsk(context)) throw usageError("what is the cluster's name? Give --id NAME");
  return await ask(context, `Name of the new cluster at ${url}`);
}

/** Before anything is asked or read from the store. */
function expectFile(file: string): void {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat?.isFile() === true) return;
  const found = stat === undefined ? "there is no such file" : "it is no file";
  throw new ClusterError("invalid", "usage", `cannot import ${file}: ${found}`, { file });
}
