#!/usr/bin/env node
/**
 * The `lbc` command.
 *
 * @module
 */
import process from "node:process";
import { processContext } from "./process-context.ts";
import { run } from "./program.ts";

const exitCode: number = await run(processContext(), process.argv.slice(2));
// Connections that are kept open must not keep the process.
process.exit(exitCode);
