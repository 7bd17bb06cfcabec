/** A copy of the repository in which one mutant at a time takes the place of the real code. */
import { rmSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Edit, Mutant } from "./mutant.ts";

/** What tests and simulator read. */
const COPIED = ["src", "tests", "scripts", "examples", "package.json", "README.md"];
const COPIED_PATTERN = /^(?:tsconfig.*\.json|vitest.*\.ts)$/;

export class Workspace {
  readonly directory: string;
  readonly #removeNow = () => rmSync(this.directory, { recursive: true, force: true });

  private constructor(directory: string) {
    this.directory = directory;
    // Also when it is interrupted.
    process.once("exit", this.#removeNow);
  }

  /** @param root of the repository, which is only read */
  static async create(root: string, rootFiles: readonly string[]): Promise<Workspace> {
    const directory = await mkdtemp(join(tmpdir(), "lbc-mutants-"));
    const names = [...COPIED, ...rootFiles.filter((name) => COPIED_PATTERN.test(name))];
    for (const name of names) await cp(join(root, name), join(directory, name), { recursive: true });
    await symlink(join(root, "node_modules"), join(directory, "node_modules"), "dir");
    return new Workspace(directory);
  }

  /** Runs `action` while the mutant is in place. */
  async with<T>(mutant: Mutant, action: () => Promise<T>): Promise<T> {
    const originals = new Map<string, string>();
    try {
      for (const edit of mutant.edits) {
        const path = join(this.directory, edit.file);
        const text = await readFile(path, "utf8");
        if (!originals.has(path)) originals.set(path, text);
        await writeFile(path, replaceOnce(mutant.id, edit, text));
      }
      return await action();
    } finally {
      for (const [path, text] of originals) await writeFile(path, text);
    }
  }

  async remove(): Promise<void> {
    process.off("exit", this.#removeNow);
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** @throws Error if the text to replace does not occur exactly once: then the mutant must be looked at again */
export function replaceOnce(id: string, { file, find, replace }: Edit, text: string): string {
  const count = text.split(find).length - 1;
  if (count !== 1) throw new Error(`mutant ${id}: its text occurs ${count} times in ${file}, not once:\n${find}`);
  if (find === replace) throw new Error(`mutant ${id}: it replaces a text of ${file} by the same`);
  return text.replace(find, () => replace);
}

/** Checks every mutant against the sources as they are. Gives what is wrong. */
export async function problemsOf(root: string, mutants: readonly Mutant[]): Promise<string[]> {
  const problems: string[] = [];
  const ids = new Set<string>();
  for (const mutant of mutants) {
    if (ids.has(mutant.id)) problems.push(`mutant ${mutant.id} is there twice`);
    ids.add(mutant.id);
    if (mutant.caughtBy.length === 0) problems.push(`mutant ${mutant.id} names nobody who would notice`);
    const texts = new Map<string, string>();
    for (const edit of mutant.edits) {
      try {
        const text = texts.get(edit.file) ?? (await readFile(join(root, edit.file), "utf8"));
        texts.set(edit.file, replaceOnce(mutant.id, edit, text));
      } catch (error) {
        problems.push(error instanceof Error ? error.message : String(error));
      }
    }
  }
  return problems;
}
