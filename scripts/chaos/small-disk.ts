/** A file system in memory that can be full and read-only: Linux, by who may mount. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { statfs } from "node:fs/promises";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

const ATTEMPTS_MAX = 40;
const PAUSE_MS = 50;

export class SmallDisk {
  readonly path: string;
  readonly #bytesMax: number;

  readonly #unmountAtExit: () => void;

  private constructor(path: string, bytesMax: number) {
    this.path = path;
    this.#bytesMax = bytesMax;
    // Lazily: who uses it still may be about to be killed.
    this.#unmountAtExit = () => run("umount", "--lazy", path);
    process.once("exit", this.#unmountAtExit);
  }

  /** Mounts one at `path`, which is made. */
  static mount(path: string, bytesMax: number): SmallDisk | { readonly missing: string } {
    mkdirSync(path);
    try {
      run("mount", "-t", "tmpfs", "-o", `size=${bytesMax}`, "lbc-chaos", path);
      return new SmallDisk(path, bytesMax);
    } catch (error) {
      return {
        missing: `no file system can be mounted here: ${String((error as Error).message)
          .split("\n")
          .at(-2)}`,
      };
    }
  }

  /** Room for nothing but so many bytes more. */
  async fill(bytesLeft: number): Promise<void> {
    // Who writes meanwhile may need more than is there, which is refused.
    await this.#remount(async () => {
      const { blocks, bfree, bsize } = await statfs(this.path);
      return `size=${(blocks - bfree) * bsize + bytesLeft}`;
    });
  }

  async free(): Promise<void> {
    await this.#remount(async () => `size=${this.#bytesMax}`);
  }

  /** Refused as long as a file is open for writing. @returns whether it is read-only now */
  async protect(): Promise<boolean> {
    try {
      await this.#remount(async () => "ro");
      return true;
    } catch {
      return false;
    }
  }

  async unprotect(): Promise<void> {
    await this.#remount(async () => "rw");
  }

  async unmount(): Promise<void> {
    process.off("exit", this.#unmountAtExit);
    await repeatedly(() => run("umount", this.path));
  }

  async #remount(option: () => Promise<string>): Promise<void> {
    await repeatedly(async () => run("mount", "-o", `remount,${await option()}`, this.path));
  }
}

async function repeatedly(action: () => void | Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await action();
    } catch (error) {
      if (attempt === ATTEMPTS_MAX) throw error;
      await sleep(PAUSE_MS);
    }
  }
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
}
