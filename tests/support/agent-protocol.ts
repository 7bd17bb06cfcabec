/** What a test and an agent say to each other: one JSON object a line, over the agent's standard input and output. */

import type { NodeStatus, Role } from "../../src/mod.ts";

/** How an agent joins: the first line of its input. */
export interface AgentConfig {
  /** A directory or a URL that `openStore` takes. */
  readonly store: string;
  /** Added to every call to the store. */
  readonly latencyMs?: number;
  readonly kind: "leader" | "follower";
  readonly az?: string;
  readonly roles?: readonly string[];
  readonly address?: string;
  readonly advertise?: string;
  /** Of `ClusterOptions`, whatever is plain data. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** The join option of that name. */
  readonly tls?: Readonly<Record<string, unknown>>;
  /** Prints the library's events on standard error. */
  readonly verbose?: boolean;
}

/** The agent's first line of output. */
export interface AgentReady {
  readonly uuid: string;
  /** What it advertises. */
  readonly address: string;
}

/** What became of one write. `at…` are milliseconds of the machine's wall clock, good to a fraction of one. */
export interface WriteOutcome {
  readonly element: string;
  /** `ok`, or the kind of the error. */
  readonly outcome: string;
  readonly epoch?: number;
  readonly beganAtMs: number;
  readonly endedAtMs: number;
  readonly detail?: string;
}

/** An epoch and when it was readable on the agent. */
export interface Observation {
  readonly epoch: number;
  readonly atMs: number;
}

export interface LoadOptions {
  readonly name: string;
  readonly writers: number;
  readonly pauseMs: number;
  /**
   * `local`: transactions of this node's own, while it leads. `append`: POST through the leader's client, not to be
   * repeated. `put`: PUT through it, safe to repeat.
   */
  readonly via: "local" | "append" | "put";
}

export interface ForwardAnswer {
  readonly status: number;
  readonly body: string;
}

/** Commands: what each takes and gives. */
export interface AgentCommands {
  /** One transaction on this node, acknowledged. */
  write: { args: { element: string }; result: WriteOutcome };
  /** Writes one after the other, each acknowledged before the next, at most one every `pauseMs`. */
  burst: { args: { name: string; count: number; pauseMs: number }; result: readonly WriteOutcome[] };
  /** Elements that were appended, in order, and the epoch at which that is so. */
  elements: { args: Record<never, never>; result: { epoch: number; elements: readonly string[] } };
  /** Items that were put, by key. */
  items: { args: Record<never, never>; result: Readonly<Record<string, string>> };
  sync: { args: { atLeast?: number; maxStalenessMs?: number }; result: { epoch: number } };
  forward: { args: { method: string; path: string; body?: string; timeoutMs?: number }; result: ForwardAnswer };
  load: { args: LoadOptions; result: null };
  /** Ends every load and gives what became of its writes. */
  stopLoad: { args: Record<never, never>; result: readonly WriteOutcome[] };
  /** How many writes of the running loads were acknowledged. */
  acknowledged: { args: Record<never, never>; result: number };
  status: { args: Record<never, never>; result: NodeStatus };
  /** Epochs that became readable here after `after`, in that order. */
  observations: { args: { after: number }; result: readonly Observation[] };
  /** Waits until this node leads, writes, and tells when that was acknowledged. */
  firstWrite: { args: { element: string }; result: WriteOutcome };
  role: { args: Record<never, never>; result: Role };
  /** From now on the store does not answer, or does again. */
  storeFails: { args: { fails: boolean }; result: null };
  /** Creates objects of so many bytes, one after the other: the milliseconds of each. */
  putProbe: { args: { count: number; bytes: number }; result: readonly number[] };
  /** Milliseconds of CPU since the process began. */
  cpu: { args: Record<never, never>; result: { userMs: number; systemMs: number; atMs: number } };
  stepDown: { args: Record<never, never>; result: null };
  /** Leaves gracefully; the process ends after the answer. */
  shutdown: { args: Record<never, never>; result: null };
}

export type AgentCommand = keyof AgentCommands;

export interface AgentRequest {
  readonly id: number;
  readonly command: AgentCommand;
  readonly args: unknown;
}

export interface AgentAnswer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly kind: string; readonly code: string; readonly message: string };
}
