/**
 * Following the epochs in the bucket and standing by: drives the follow
 * protocol with the real store, replica and clock.
 */
import { errorMessage, isClusterError } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import { judgeLaterEpochs } from "../protocol/bootstrap.ts";
import {
  beginFollow,
  type FollowAction,
  type FollowEvent,
  type FollowSettings,
  type FollowState,
  stepFollow,
} from "../protocol/follow.ts";
import type { Replica } from "../sqlite/replica.ts";
import { type Bootstrapped, bootstrap } from "./bootstrap.ts";
import type { LeadershipEnd } from "./leadership.ts";
import { listLaterEpochs } from "./listing.ts";
import { Machine, momentOf } from "./machine.ts";
import type { NodeParts } from "./parts.ts";

export interface FollowingEvents {
  /** An epoch was applied and is readable. */
  onApplied(epoch: number, walBytes: number): void;
  /** The replica was exchanged for a newly read one. */
  onBootstrapped(bootstrapped: Bootstrapped): void;
  /** It is time to claim the next epoch; answer with `leadershipEnded` when that is over. */
  onClaim(): void;
  /** Something keeps the node from following; `undefined` when it goes on. */
  onTrouble(reason: unknown): void;
}

export class Following {
  readonly #parts: NodeParts;
  readonly #replica: Replica;
  readonly #events: FollowingEvents;
  readonly #machine: Machine<FollowState, FollowEvent, FollowAction>;
  readonly #abort = new AbortController();

  constructor(parts: NodeParts, replica: Replica, candidate: boolean, newestAgeMs: number, events: FollowingEvents) {
    this.#parts = parts;
    this.#replica = replica;
    this.#events = events;
    const { pollIntervalMs, eagerPollIntervalMs, sessionTimeoutMs, retryBaseMs, retryMaxMs, clock, random } =
      parts.settings;
    const settings: FollowSettings = {
      candidate,
      pollIntervalMs,
      eagerPollIntervalMs,
      sessionTimeoutMs,
      retryBaseMs,
      retryMaxMs,
    };
    const initial = beginFollow(replica.epoch, this.#hasLeader, newestAgeMs, settings, momentOf(clock, random));
    this.#machine = new Machine(initial, {
      clock,
      random,
      tick: { type: "tick" },
      step: (state, event, moment) => stepFollow(state, event, settings, moment),
      execute: (action) => {
        this.#execute(action);
        return true;
      },
    });
  }

  start(): void {
    this.#machine.dispatch({ type: "tick" });
  }

  /** Somebody waits for this epoch: look more often until then. */
  want(epoch: number, untilMs: number): void {
    this.#machine.dispatch({ type: "wanted", epoch, untilMs });
  }

  /** The leadership that `onClaim` asked for is over. */
  leadershipEnded({ reason, isLeftBehind }: LeadershipEnd): void {
    this.#machine.dispatch({
      type: "leadershipEnded",
      epoch: this.#replica.epoch,
      hasLeader: this.#hasLeader,
      steppedDown: reason === "steppedDown",
      isLeftBehind,
    });
  }

  /** Stops; safe twice. */
  close(): void {
    this.#machine.stop();
    this.#abort.abort();
  }

  get #hasLeader(): boolean {
    return this.#replica.rows.leader !== undefined;
  }

  #execute(action: FollowAction): void {
    switch (action.type) {
      case "fetch":
        this.#carryOut("fetch", this.#fetch(action.epoch), { type: "fetchAnswered", found: "failed" });
        return;
      case "ask":
        this.#carryOut("ask", this.#ask(action.afterEpoch), { type: "askAnswered", found: "failed" });
        return;
      case "bootstrap":
        this.#carryOut("bootstrap", this.#bootstrap(), { type: "bootstrapFailed" });
        return;
      case "claim":
        this.#events.onClaim();
    }
  }

  #carryOut(what: string, answer: Promise<FollowEvent>, onFailure: FollowEvent): void {
    answer.then(
      (event) => this.#machine.dispatch(event),
      (error: unknown) => {
        if (this.#abort.signal.aborted) return;
        this.#parts.log({
          level: "warn",
          event: `${what}_failed`,
          epoch: this.#replica.epoch,
          reason: errorMessage(error),
        });
        this.#events.onTrouble(error);
        this.#machine.dispatch(onFailure);
      },
    );
  }

  async #fetch(epoch: number): Promise<FollowEvent> {
    const object = await this.#parts.store.get(walKey(epoch), { signal: this.#abort.signal });
    this.#abort.signal.throwIfAborted();
    if (object === undefined) {
      this.#events.onTrouble(undefined);
      return { type: "fetchAnswered", found: "missing" };
    }
    return this.#apply(object.bytes, object.key);
  }

  #apply(bytes: Uint8Array, what: string): FollowEvent {
    try {
      this.#replica.apply(this.#replica.verify(bytes, what));
    } catch (error) {
      if (!isClusterError(error)) throw error;
      this.#parts.log({
        level: "error",
        event: "epoch_refused",
        code: error.code,
        reason: error.message,
        details: error.details,
      });
      this.#events.onTrouble(error);
      return { type: "refused", reason: error.code === "diverged" ? "diverged" : "damaged" };
    }
    this.#events.onTrouble(undefined);
    this.#events.onApplied(this.#replica.epoch, bytes.length);
    return { type: "applied", epoch: this.#replica.epoch, hasLeader: this.#hasLeader };
  }

  async #ask(afterEpoch: number): Promise<FollowEvent> {
    const later = await listLaterEpochs(this.#parts.store, afterEpoch, this.#abort.signal);
    return { type: "askAnswered", found: judgeLaterEpochs(afterEpoch, later) };
  }

  async #bootstrap(): Promise<FollowEvent> {
    const { store, log, settings } = this.#parts;
    log({ level: "warn", event: "bootstrapping_again", epoch: this.#replica.epoch });
    const { fetchParallel: parallel, fetchBytesMax: bytesMax } = settings;
    const { system } = this.#replica;
    const result = await bootstrap({
      store,
      system,
      parallel,
      bytesMax,
      log,
      signal: this.#abort.signal,
      onProgress: undefined,
    });
    this.#abort.signal.throwIfAborted();
    this.#replica.replace(result.state);
    this.#events.onTrouble(undefined);
    this.#events.onBootstrapped(result);
    return { type: "bootstrapped", epoch: this.#replica.epoch, hasLeader: this.#hasLeader };
  }
}
