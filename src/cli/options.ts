/** Values on the command line, read and checked. */
import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError } from "commander";
import { ClusterError, errorMessage } from "../errors.ts";
import type { Point } from "../history/point.ts";
import type { ClientTls } from "../net/tls.ts";
import type { RowFormat } from "./output.ts";
import { parseDuration } from "./text.ts";

/** What {@link POINT_HELP} explains. */
export const POINT_HELP = 'an epoch (42), a time (2026-11-20T12:00:00Z), how long ago ("5m ago"), newest or earliest';

/** Words for points that only the command line knows; the library calls the first one `now`. */
const NEWEST = "newest";
const EARLIEST = "earliest";

/** The part of a cluster that tells what there is. */
interface WithExtent {
  extent(options: { readonly signal: AbortSignal }): Promise<{ readonly earliest: number }>;
}

/** The point that the text means; the library reads all but the two words. */
export async function pointOf(text: string, cluster: WithExtent, signal: AbortSignal): Promise<Point> {
  if (text === NEWEST) return "now";
  return text === EARLIEST ? (await cluster.extent({ signal })).earliest : text;
}

/** For commander: a whole number of at least `min`. */
export function wholeNumber(min: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= min) return value;
    throw new InvalidArgumentError(`It must be a whole number of at least ${min}.`);
  };
}

/** For commander: `30s`, `5m`, `2h`, `7d` as milliseconds. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  throw new InvalidArgumentError("It must be a duration, as 30s, 5m, 2h or 7d.");
}

/** Adds `--csv`, beside the global `--json`. */
export function addCsvOption(command: Command): Command {
  return command.option("--csv", "CSV with a line of column names");
}

/** How rows are printed, by the options. */
export function rowFormatOf(command: Command): RowFormat {
  const { json, csv } = command.optsWithGlobals<{ json?: boolean; csv?: boolean }>();
  if (json === true && csv === true) {
    throw new ClusterError("invalid", "usage", "--json and --csv contradict each other: give one of them");
  }
  if (json === true) return "json";
  return csv === true ? "csv" : "table";
}

/** Adds what is needed to talk to nodes that use TLS. */
export function addTlsOptions(command: Command): Command {
  return command
    .option("--tls", "the nodes speak TLS")
    .option("--ca <file>", "PEM file of the authority that signs the nodes' certificates (implies --tls)")
    .option("--cert <file>", "PEM file of our certificate, where nodes ask for one (implies --tls)")
    .option("--key <file>", "PEM file of its private key")
    .option("--server-name <name>", "the name in the nodes' certificates, where it is not that of their address");
}

interface TlsOptions {
  readonly tls?: boolean;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
}

/** TLS towards nodes, by the options; `undefined` for clear text. */
export async function tlsOf(command: Command): Promise<ClientTls | undefined> {
  const { tls, ca, cert, key, serverName } = command.opts<TlsOptions>();
  if ((cert === undefined) !== (key === undefined)) {
    throw new ClusterError("invalid", "usage", "--cert and --key go together: give both or neither");
  }
  if (tls !== true && ca === undefined && cert === undefined && serverName === undefined) return undefined;
  return {
    ...(ca === undefined ? {} : { ca: await readPem("--ca", ca) }),
    ...(cert === undefined ? {} : { cert: await readPem("--cert", cert) }),
    ...(key === undefined ? {} : { key: await readPem("--key", key) }),
    ...(serverName === undefined ? {} : { serverName }),
  };
}

async function readPem(option: string, file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new ClusterError("invalid", "usage", `${option}: ${errorMessage(error)}`, { file }, { cause: error });
  }
  if (text.includes("-----BEGIN ")) return text;
  throw new ClusterError("invalid", "usage", `${option}: ${file} is no PEM file`, { file });
}
