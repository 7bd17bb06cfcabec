/** What the harness and a member say to each other. */
import type { ClusterOptions } from "../../src/mod.ts";
import type { Outcome, ReadLevel } from "../../src/testing/checkers/operation.ts";
import type { ReadChoice, Reading, Work } from "../../src/testing/workloads/workload.ts";

/** The first line of a member's standard input. It ends when that ends, so that none is left behind. */
export interface MemberConfig {
  /** What `openStore` takes. */
  readonly store: string;
  readonly kind: "leader" | "follower";
  readonly az: string;
  /** `HOST:PORT` to listen on … */
  readonly address: string;
  /** … and the one that other members use. */
  readonly advertise: string;
  readonly settings: Omit<ClusterOptions, "store">;
}

export const PATHS = {
  write: "/chaos/write",
  apply: "/chaos/apply",
  read: "/chaos/read",
  state: "/chaos/state",
  stepDown: "/chaos/step-down",
} as const;

/** `local`: by this member, which must lead. `leader`: through its client for the leader, which may be itself. */
export interface WriteRequest {
  readonly id: string;
  readonly work: Work;
  readonly via: "local" | "leader";
}

export interface WriteAnswer {
  readonly outcome: Outcome;
  /** Of an acknowledged one. */
  readonly epoch?: number;
  /** The run of the node that executed it, or that says why not. */
  readonly by: string;
  /** Of a swap: whether it was done. */
  readonly swapped?: boolean;
  /** Why it was not acknowledged. */
  readonly code?: string;
  readonly message?: string;
}

export interface ReadRequest extends ReadChoice {
  readonly level: ReadLevel;
  readonly atLeast?: number | undefined;
  readonly maxStalenessMs?: number | undefined;
}

export interface ReadAnswer {
  readonly outcome: "ok" | "not_written";
  readonly by: string;
  /** As the data itself says. */
  readonly epoch?: number;
  /** As `node.epoch` says. */
  readonly announcedEpoch?: number;
  readonly reading?: Reading;
  readonly code?: string;
}

export interface StateAnswer {
  readonly uuid: string;
  readonly epoch: number;
  readonly isLeader: boolean;
  readonly leader: string | undefined;
  readonly isStreaming: boolean;
  readonly memberCount: number;
  /** Over every page as readers see it; if it was asked for. */
  readonly digest?: string;
}
