/** `lbc log`: the epochs, newest first. */
import { type Command, InvalidArgumentError } from "commander";
import type { EpochRecord } from "../../history/log.ts";
import type { Point } from "../../history/point.ts";
import { type OpenCluster, openCluster } from "../cluster.ts";
import type { CliContext } from "../context.ts";
import { addCsvOption, POINT_HELP, pointOf, rowFormatOf, wholeNumber } from "../options.ts";
import { type Cell, printJsonList, printRows } from "../output.ts";

/** Each epoch is a request, so nobody gets thousands of them unasked. */
const LIMIT = 50;

const COLUMNS = ["epoch", "time", "leader", "az", "pages", "bytes", "what"];

interface LogOptions {
  readonly from?: string;
  readonly to?: string;
  readonly limit: number;
}

export function addLog(program: Command, context: CliContext): void {
  const command = program
    .command("log")
    .description("the epochs, newest first: when, who led, how much changed, what was rolled back")
    .option("--from <point>", `not before: ${POINT_HELP}`)
    .option("--to <point>", "not after; default: newest")
    .option("--limit <count>", 'at most so many epochs, or "all"', limitOf, LIMIT);
  addCsvOption(command).action(async (options: LogOptions, self: Command) => {
    const { cluster } = await openCluster(context, self);
    const format = rowFormatOf(self);
    const records = newestFirst(context, cluster, options);
    if (format === "json") await printJsonList(context.stdout, records);
    else await printRows(context.stdout, format, COLUMNS, rowsOf(records));
  });
}

function limitOf(text: string): number {
  if (text === "all") return Number.POSITIVE_INFINITY;
  try {
    return wholeNumber(1)(text);
  } catch {
    throw new InvalidArgumentError('It must be a whole number of at least 1, or "all".');
  }
}

async function* newestFirst(
  context: CliContext,
  cluster: OpenCluster["cluster"],
  { from, to, limit }: LogOptions,
): AsyncGenerator<EpochRecord, void, undefined> {
  const { signal } = context;
  const ends = {
    ...(from === undefined ? {} : { from: await pointOf(from, cluster, signal) }),
    ...(to === undefined ? {} : { to: await pointOf(to, cluster, signal) }),
  };
  let left = limit;
  for await (const record of cluster.history({ ...ends, order: "descending", signal })) {
    yield record;
    left--;
    if (left === 0) return;
  }
}

/** What the history says of the epoch that a point means. */
export async function recordAt(
  cluster: OpenCluster["cluster"],
  point: Point,
  signal: AbortSignal,
): Promise<EpochRecord | undefined> {
  for await (const record of cluster.history({ from: point, to: point, signal })) return record;
  return undefined;
}

async function* rowsOf(records: AsyncIterable<EpochRecord>): AsyncGenerator<Cell[], void, undefined> {
  for await (const { epoch, time, leader, pages, bytes, rollback, problem } of records) {
    const what = problem ?? (rollback === undefined ? undefined : `rollback to ${rollback.to}`);
    yield [epoch, time, leader?.address, leader?.az, pages, bytes, what];
  }
}
