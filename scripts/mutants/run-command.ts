import { spawn } from "node:child_process";
import process from "node:process";

const OUTPUT_CHARACTERS_MAX = 64 * 1024;

/** How a command ended. */
export interface CommandResult {
  /** `undefined` if it was ended because its time was up. */
  readonly exitCode: number | undefined;
  readonly stdout: string;
  /** The end of both outputs, for messages. */
  readonly tail: string;
}

/** Runs a command in a process group of its own, which ends with it or when the time is up. */
export async function runCommand(
  command: string,
  args: readonly string[],
  cwd: string,
  timeLimitMs: number,
): Promise<CommandResult> {
  // Child processes of tests and of npm belong to the group.
  const child = spawn(command, args, { cwd, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let tail = "";
  const take = (text: string) => {
    tail = (tail + text).slice(-OUTPUT_CHARACTERS_MAX);
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout = (stdout + text).slice(-OUTPUT_CHARACTERS_MAX);
    take(text);
  });
  child.stderr.setEncoding("utf8").on("data", take);
  let isTimeUp = false;
  const timer = setTimeout(() => {
    isTimeUp = true;
    killGroup(child.pid);
  }, timeLimitMs);
  const interrupt = () => killGroup(child.pid);
  process.once("exit", interrupt);
  try {
    const exitCode = await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => resolve(code ?? 1));
    });
    return { exitCode: isTimeUp ? undefined : exitCode, stdout, tail };
  } finally {
    clearTimeout(timer);
    process.off("exit", interrupt);
    killGroup(child.pid);
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody of it is left.
  }
}
