/** A defect that somebody could make, as text to replace, and who is expected to notice. */

/** One replacement. */
export interface Edit {
  /** From the root of the repository. */
  readonly file: string;
  /** Occurs exactly once in the file: so a change of the sources cannot make a mutant mean nothing unnoticed. */
  readonly find: string;
  readonly replace: string;
}

/** A file of tests, or those tests in it whose names match. */
export interface TestDetector {
  readonly test: string;
  /** A regular expression, as for `vitest -t`. */
  readonly name?: string;
}

/** The simulator, up to so many seeds. */
export interface SimulatorDetector {
  readonly sim: { readonly profile?: string | undefined; readonly seeds: number };
}

/** Whoever is asked whether something is wrong. */
export type Detector = TestDetector | SimulatorDetector;

/** The real code without one of its measures. */
export interface Mutant {
  /** Unique, words with dashes. */
  readonly id: string;
  /** What the broken code does, in one sentence. */
  readonly broken: string;
  /** The promise of docs/architecture.md §1 that it breaks. */
  readonly promise: string;
  readonly edits: readonly Edit[];
  /** Asked in this order; the first that notices is enough. */
  readonly caughtBy: readonly Detector[];
}

/** A mutant with one replacement. */
export function mutant(id: string, promise: string, broken: string, edit: Edit, caughtBy: readonly Detector[]): Mutant {
  return { id, promise, broken, edits: [edit], caughtBy };
}

/** What a detector saw. */
export type Verdict =
  | { readonly isCaught: true; readonly by: string; readonly seeds: number | undefined }
  | { readonly isCaught: false /** Why nobody could tell. */; readonly problem?: string };

/** What became of a mutant. */
export interface Outcome {
  readonly mutant: Mutant;
  readonly verdict: Verdict;
  readonly elapsedMs: number;
}
