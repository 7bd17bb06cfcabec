/** `lbc vacuum`: one run of the retention, now. */
import type { Command } from "commander";
import { openCluster } from "../cluster.ts";
import { type CliContext, globalOptions, withProgress } from "../context.ts";
import { duration } from "../options.ts";
import { printJson } from "../output.ts";
import { confirmed } from "../questions.ts";
import { bytesText, countText, durationText } from "../text.ts";

interface VacuumOptions {
  readonly retention?: number;
  readonly yes?: boolean;
}

export function addVacuum(program: Command, context: CliContext): void {
  program
    .command("vacuum")
    .description("delete what no point within the retention needs, as the leader does by itself")
    .option(
      "--retention <duration>",
      "how long the history is kept, as 7d or 12h; that of the cluster's nodes",
      duration,
    )
    .option("--yes", "do not ask first")
    .action(async (options: VacuumOptions, command: Command) => {
      const { retention, yes } = options;
      const settings = retention === undefined ? {} : { retentionMs: retention };
      const { cluster, store } = await openCluster(context, command, settings);
      const kept = retention === undefined ? "the default retention" : `a retention of ${durationText(retention)}`;
      const question = `Delete the history of ${cluster.id} at ${store.url} that is older than ${kept}?`;
      if (!(await confirmed(context, question, yes === true))) return;
      const report = await withProgress(context, "deleting", (long) => cluster.vacuum(long));
      if (globalOptions(command).json) return await printJson(context, report);
      const { boundary, deleted, bytes } = report;
      const what = deleted === 0 ? "There was nothing to delete" : `${countText(deleted, "object")} deleted`;
      await context.stderr.write(`${what}: ${bytesText(bytes)}. The history begins with epoch ${boundary}.\n`);
    });
}
