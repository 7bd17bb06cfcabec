/** `lbc export`: a plain SQLite database of any point. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { openCluster } from "../cluster.ts";
import { type CliContext, globalOptions, withProgress } from "../context.ts";
import { usageError } from "../failure.ts";
import { POINT_HELP, pointOf } from "../options.ts";
import { printJson } from "../output.ts";
import { bytesText } from "../text.ts";

interface ExportOptions {
  readonly at: string;
  readonly overwrite?: boolean;
}

export function addExport(program: Command, context: CliContext): void {
  program
    .command("export")
    .description("write a plain SQLite database")
    .argument("<file>", "where to write it")
    .option("--overwrite", "replace the file if it exists")
    .option("--at <point>", POINT_HELP, "newest")
    .action(async (file: string, { at, overwrite = false }: ExportOptions, command: Command) => {
      // Before much is read for nothing.
      if (!overwrite && existsSync(file)) throw usageError(`${file} exists: choose another name, or give --overwrite`);
      const { cluster } = await openCluster(context, command);
      const point = await pointOf(at, cluster, context.signal);
      const label = `exporting to ${file}`;
      const { epoch, bytes } = await withProgress(context, label, (long) =>
        cluster.export(point, file, { ...long, overwrite }),
      );
      if (globalOptions(command).json) return await printJson(context, { epoch, bytes, file });
      await context.stderr.write(`Epoch ${epoch} is in ${file}: ${bytesText(bytes)}.\n`);
    });
}
