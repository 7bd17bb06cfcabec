/** Every mutant there is. */
import type { Mutant } from "../mutant.ts";
import { COMMIT_MUTANTS } from "./commit.ts";
import { FOLLOW_MUTANTS } from "./follow.ts";
import { FORMAT_MUTANTS } from "./format.ts";
import { FUZZ_MUTANTS } from "./fuzz.ts";
import { HISTORY_MUTANTS } from "./history.ts";
import { LEADERSHIP_MUTANTS } from "./leadership.ts";
import { NET_MUTANTS } from "./net.ts";
import { SQLITE_MUTANTS } from "./sqlite.ts";
import { STORE_MUTANTS } from "./store.ts";

export const ALL_MUTANTS: readonly Mutant[] = [
  ...COMMIT_MUTANTS,
  ...LEADERSHIP_MUTANTS,
  ...FOLLOW_MUTANTS,
  ...SQLITE_MUTANTS,
  ...FORMAT_MUTANTS,
  ...STORE_MUTANTS,
  ...HISTORY_MUTANTS,
  ...NET_MUTANTS,
  ...FUZZ_MUTANTS,
];
