/** `lbc doctor`: is this store good enough? */
import { type Command, InvalidArgumentError } from "commander";
import { REQUEST_KINDS, type RequestKind, type RequestPrices, S3_STANDARD_PRICES } from "../../store/metered-store.ts";
import { s3CreateInParts } from "../../store/s3-create-in-parts.ts";
import type { ObjectStore } from "../../store/store.ts";
import { type CliContext, globalOptions, type TextOutput } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { wholeNumber } from "../options.ts";
import { printJson } from "../output.ts";
import type { DoctorReport } from "./finding.ts";
import { checkText, reportText } from "./report.ts";
import { DATABASE_BYTES, type DoctorOptions, type DoctorProgress, runDoctor } from "./run-doctor.ts";

const MIB = 1024 * 1024;

/** Steps are shown this often at the most. */
const FRAME_MS = 100;

/** Back to the line's begin, and clears it. */
const CLEAR_LINE = "\r\u001b[2K";

type PriceOptions = Readonly<Partial<Record<`${RequestKind}Price`, number>>>;

interface CommandOptions extends PriceOptions {
  /** False with `--no-many`. */
  readonly many: boolean;
  readonly databaseSize: number;
}

export function addDoctor(program: Command, context: CliContext): void {
  const command = program
    .command("doctor")
    .description("find out whether the store is good enough for a cluster, how fast it is and what it will cost")
    .option("--no-many", "do not write the 1050 small objects that show whether long listings work")
    .option(
      "--database-size <MiB>",
      "of the database whose snapshots the cost includes",
      wholeNumber(1),
      DATABASE_BYTES / MIB,
    );
  for (const kind of REQUEST_KINDS) {
    command.option(`--${kind}-price <USD>`, `of a million ${kind} requests`, price, S3_STANDARD_PRICES[kind]);
  }
  command
    .addHelpText(
      "after",
      "\nA cluster in the same place is not touched: what the doctor writes is below .lbc/.doctor-…/ and deleted in the end.\n" +
        "The prices are by default those of S3 standard storage in us-east-1.\n" +
        `The exit code is ${EXIT.problems} if the store is not good enough.`,
    )
    .action(async (options: CommandOptions, self: Command) => {
      const { store: url, json } = globalOptions(self);
      const store = context.openStore(url);
      const report = await examine(context, store, options);
      if (json) await printJson(context, report);
      else await context.stdout.write(reportText(report, context.stdout));
      if (report.verdict === "bad") context.exitCode = EXIT.problems;
    });
}

async function examine(context: CliContext, store: ObjectStore, options: CommandOptions): Promise<DoctorReport> {
  const line = new StepLine(context.stderr);
  const doctorOptions: DoctorOptions = {
    signal: context.signal,
    secondHandle: secondHandle(context, store),
    createInParts: s3CreateInParts(store.url, context.environment),
    prices: pricesOf(options),
    withManyKeys: options.many,
    databaseBytes: options.databaseSize * MIB,
    onProgress: (progress) => line.show(progress),
    onLeftBehind: ({ prefix }) => {
      line.clear();
      context.stderr.write(`Not everything could be deleted: look below ${prefix}\n`).catch(() => {});
    },
  };
  try {
    const doctor = runDoctor(store, doctorOptions);
    for (;;) {
      const { done, value } = await doctor.next();
      if (done) return value;
    }
  } finally {
    line.clear();
  }
}

/** A second way to the same objects; memory opened anew would be another store. */
function secondHandle(context: CliContext, store: ObjectStore): ObjectStore | undefined {
  return /^(s3|file):/.test(store.url) ? context.openStore(store.url) : undefined;
}

function pricesOf(options: PriceOptions): RequestPrices {
  const entries = REQUEST_KINDS.map((kind) => [kind, options[`${kind}Price`] ?? S3_STANDARD_PRICES[kind]]);
  return Object.fromEntries(entries) as RequestPrices;
}

/** For commander: dollars. */
function price(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isFinite(value)) return value;
  throw new InvalidArgumentError("It must be a price in US dollars for a million requests, as 5 or 0.4.");
}

/** What is being done, in one line that the next replaces; nothing where there is no terminal. */
class StepLine {
  readonly #output: TextOutput;
  #shownAtMs = Number.NEGATIVE_INFINITY;
  #isShown = false;

  constructor(output: TextOutput) {
    this.#output = output;
  }

  show({ check, done, total }: DoctorProgress): void {
    const nowMs = performance.now();
    if (!this.#output.isTerminal || nowMs - this.#shownAtMs < FRAME_MS) return;
    this.#shownAtMs = nowMs;
    this.#isShown = true;
    this.#write(`${CLEAR_LINE}checking: ${checkText(check)} ${this.#output.colors.dim(`${done} of ${total}`)}`);
  }

  clear(): void {
    if (this.#isShown) this.#write(CLEAR_LINE);
    this.#isShown = false;
  }

  #write(text: string): void {
    // A terminal that is gone is not what the command is about.
    this.#output.write(text).catch(() => {});
  }
}
