/** `lbc members`: who is in the cluster, as the leader knows it. */
import type { Command } from "commander";
import type { Member } from "../../protocol/roster.ts";
import { expectId, headOf } from "../cluster.ts";
import { type CliContext, globalOptions } from "../context.ts";
import { askMembers } from "../node-client.ts";
import { addCsvOption, addTlsOptions, rowFormatOf, tlsOf } from "../options.ts";
import { type Cell, printJson, printRows } from "../output.ts";

const COLUMNS = ["role", "address", "az", "serves", "epoch", "lag ms", "runtime", "version", "started", "uuid"];

export function addMembers(program: Command, context: CliContext): void {
  const command = program
    .command("members")
    .description("who is in the cluster: asked of the leader, with the secret from the bucket");
  addCsvOption(addTlsOptions(command)).action(async (_options: object, self: Command) => {
    const tls = await tlsOf(self);
    const { store: url, id } = globalOptions(self);
    const store = context.openStore(url);
    const { rows } = await headOf(context, store);
    expectId(id, rows.clusterId, store);
    const members = await askMembers(context, rows, tls);
    const format = rowFormatOf(self);
    if (format === "json") await printJson(context, members);
    else await printRows(context.stdout, format, COLUMNS, members.map(rowOf));
  });
}

function rowOf(member: Member): Cell[] {
  const { role, address, az, roles, epoch, lagMs, runtime, version, startedAt, uuid } = member;
  return [role, address, az, roles.join(" "), epoch, lagMs, runtime, version, startedAt, uuid];
}
