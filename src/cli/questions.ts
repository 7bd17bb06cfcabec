/** Questions to whoever sits at the terminal, on standard error. */
import { confirm, isCancel, text } from "@clack/prompts";
import type { CliContext } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { usageError } from "./failure.ts";
import { Interrupted } from "./process-context.ts";

/** Whether somebody can answer. */
export function canAsk({ stdin, stderr }: CliContext): boolean {
  return stdin.isTerminal && stderr.isTerminal;
}

/** A line of text that is not empty. */
export async function ask(context: CliContext, message: string): Promise<string> {
  const { stdin, stderr, signal } = context;
  const validate = (value: string | undefined) => ((value ?? "").trim() === "" ? "It must not be empty." : undefined);
  const answer = await text({ message, validate, input: stdin.stream, output: stderr.stream, signal });
  if (isCancel(answer)) throw new Interrupted(EXIT.interrupted);
  return answer.trim();
}

/**
 * Whether to go on; no is the answer of who only presses Enter.
 *
 * @param isSure the command was told so: then nobody is asked
 * @throws ClusterError `invalid`/`confirmation_needed` where nobody can answer
 */
export async function confirmed(context: CliContext, message: string, isSure: boolean): Promise<boolean> {
  if (isSure) return true;
  if (!canAsk(context)) {
    throw usageError(
      "nobody is at the terminal to be asked: give --yes to do it without asking",
      "confirmation_needed",
    );
  }
  const { stdin, stderr, signal } = context;
  const answer = await confirm({ message, initialValue: false, input: stdin.stream, output: stderr.stream, signal });
  if (isCancel(answer)) throw new Interrupted(EXIT.interrupted);
  return answer;
}
