/** `lbc rollback`: one new epoch that restores an earlier state. */
import { type Command, Option } from "commander";
import type { EpochRecord } from "../../history/log.ts";
import { expectId, headOf, makeCluster } from "../cluster.ts";
import { type CliContext, globalOptions } from "../context.ts";
import { pointNotFound } from "../failure.ts";
import type { Head } from "../head.ts";
import { rollbackTo } from "../leader-rollback.ts";
import { addTlsOptions, duration, POINT_HELP, pointOf, tlsOf } from "../options.ts";
import { printJson } from "../output.ts";
import { confirmed } from "../questions.ts";
import { countText, durationText, printable } from "../text.ts";
import { recordAt } from "./log.ts";

interface RollbackOptions {
  readonly yes?: boolean;
  readonly dryRun?: boolean;
  readonly sessionTimeout: number;
}

/** That of the library. */
const SESSION_TIMEOUT_MS = 20_000;
const HEARTBEATS_PER_SESSION = 4;

export function addRollback(program: Command, context: CliContext): void {
  const command = program
    .command("rollback")
    .description("restore the state of a point by one new epoch; history stays, so it can be undone")
    .argument("<point>", POINT_HELP)
    .option("--yes", "do not ask first")
    .option("--dry-run", "only tell what would be done")
    .addOption(
      new Option(
        "--session-timeout <duration>",
        "that of the cluster's nodes: so long after its last epoch a leader is gone",
      )
        .argParser(duration)
        .default(SESSION_TIMEOUT_MS, durationText(SESSION_TIMEOUT_MS)),
    );
  addTlsOptions(command).action((text: string, options: RollbackOptions, self: Command) =>
    rollBack(context, self, text, options),
  );
}

async function rollBack(context: CliContext, command: Command, text: string, options: RollbackOptions): Promise<void> {
  const { store: url, id, json } = globalOptions(command);
  const tls = await tlsOf(command);
  const store = context.openStore(url);
  const head = await headOf(context, store);
  expectId(id, head.rows.clusterId, store);
  const { sessionTimeout: sessionTimeoutMs } = options;
  // Who cannot reach the leader from here must not take its place at once: see leader-rollback.
  const heartbeatIntervalMs = Math.floor(sessionTimeoutMs / HEARTBEATS_PER_SESSION);
  const settings = { sessionTimeoutMs, heartbeatIntervalMs, fastFailover: false };
  const cluster = makeCluster(head.rows.clusterId, store, settings);
  const target = await recordAt(cluster, await pointOf(text, cluster, context.signal), context.signal);
  if (target === undefined) throw pointNotFound(text);
  if (json && options.dryRun === true) return await printJson(context, planOf(head, target));
  await tell(context, head, target);
  if (options.dryRun === true) return;
  if (!(await confirmed(context, `Roll back to epoch ${target.epoch}?`, options.yes === true))) return;
  const done = await rollbackTo({ context, store, head, tls, sessionTimeoutMs, cluster }, target.epoch);
  if (json) return await printJson(context, done);
  const by = done.leader === undefined ? "" : `, by the leader at ${done.leader.address}`;
  await context.stderr.write(
    `Epoch ${done.epoch} has the state of epoch ${done.to}: ${countText(done.pages, "page")} changed${printable(by)}.\n` +
      `To undo it: lbc rollback ${done.from}\n`,
  );
}

function planOf(head: Head, target: EpochRecord): Readonly<Record<string, unknown>> {
  const { epoch, rows } = head;
  return {
    cluster: rows.clusterId,
    from: epoch,
    fromTime: rows.lastUpdate ?? null,
    to: target.epoch,
    toTime: target.time ?? null,
    epochs: epoch - target.epoch,
    leader: rows.leader ?? null,
  };
}

async function tell({ stderr }: CliContext, { epoch, rows, ageMs }: Head, target: EpochRecord): Promise<void> {
  const { leader, lastUpdate } = rows;
  const by = leader === undefined ? "from here, as nobody leads" : `by the leader at ${leader.address}`;
  const lines = [
    `Cluster ${rows.clusterId} goes back, ${by}:`,
    `  from  epoch ${epoch}  ${lastUpdate ?? ""}, ${durationText(ageMs)} ago`,
    `  to    epoch ${target.epoch}  ${target.time ?? ""}`,
    `The changes of ${countText(epoch - target.epoch, "epoch")} are undone by a new one. Transactions that are pending then fail.`,
  ];
  await stderr.write(lines.map((line) => `${printable(line)}\n`).join(""));
}
