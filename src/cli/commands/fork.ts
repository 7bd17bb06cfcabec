/** `lbc fork`: a new cluster that begins with a point of this one. */
import type { Command } from "commander";
import { openCluster } from "../cluster.ts";
import { type CliContext, globalOptions, withProgress } from "../context.ts";
import { usageError } from "../failure.ts";
import { POINT_HELP, pointOf } from "../options.ts";
import { printJson } from "../output.ts";
import { bytesText } from "../text.ts";

export function addFork(program: Command, context: CliContext): void {
  program
    .command("fork")
    .description("make another cluster that begins with a point of this one; this one is not touched")
    .argument("<point>", POINT_HELP)
    .argument("<store>", "URL of the store for the new cluster; must not hold one")
    .addHelpText("after", "\nThe new cluster's name is given with --id; it has a secret of its own.")
    .action(async (text: string, target: string, _options: object, command: Command) => {
      const { id, json } = globalOptions(command);
      if (id === undefined) throw usageError("what is the new cluster's name? Give --id NAME");
      const store = context.openStore(target);
      // Of the cluster that is forked the id is read from its store: --id is the new one's.
      const { cluster } = await openCluster(context, command, {}, { ignoreId: true });
      const point = await pointOf(text, cluster, context.signal);
      const label = `forking to ${store.url}`;
      const forked = await withProgress(context, label, (options) => cluster.fork(point, store, { ...options, id }));
      if (json) return await printJson(context, { ...forked, id, store: store.url });
      const { epoch, bytes } = forked;
      await context.stderr.write(`The cluster ${id} is at ${store.url}: epoch ${epoch}, ${bytesText(bytes)}.\n`);
    });
}
