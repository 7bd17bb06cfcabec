/**
 * Following the epochs in the bucket and standing by: drives the follow
 * protocol with the real store, replica and clock.
 */
import { readClock } from "../base/clock.ts";
import { errorMessage, isClusterError } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import { listLaterEpochs } from "../history/listing.ts";
import { type RestoredAt, restore, restoreLimits } from "../history/restore.ts";
import { stepFollow } from "../protocol/follow.ts";
import {
  beginFollow,
  type ClaimReason,
  type FollowAction,
  type FollowEvent,
  type FollowSettings,
  type FollowState,
  lagMs,
  mayBeTrimmed,
} from "../protocol/follow-state.ts";
import { judgeLaterEpochs } from "../protocol/later-epochs.ts";
import { elapsedMs, type Instant, instantOf, NEVER } from "../protocol/moment.ts";
import type { Replica } from "../sqlite/replica.ts";
import type { LeadershipEnd } from "./leadership.ts";
import { Machine, momentOf } from "./machine.ts";
import type { EpochSource } from "./metrics-sink.ts";
import type { NodeParts } from "./parts.ts";
import { PushBuffer } from "./push-buffer.ts";

export interface FollowingEvents {
  /** An epoch was applied and is readable. */
  onApplied(epoch: number, walBytes: number, source: EpochSource): void;
  /** The replica was exchanged for a newly read one. */
  onBootstrapped(restored: RestoredAt): void;
  /** It is time to claim the next epoch; answer with `leadershipEnded` when that is over. */
  onClaim(reason: ClaimReason, provenAt: Instant): void;
  /** Something keeps the node from following; `undefined` when it goes on. */
  onTrouble(reason: unknown): void;
}

export class Following {
  readonly #parts: NodeParts;
  readonly #replica: Replica;
  readonly #events: FollowingEvents;
  readonly #machine: Machine<FollowState, FollowEvent, FollowAction>;
  readonly #settings: FollowSettings;
  readonly #pushed = new PushBuffer();
  readonly #abort = new AbortController();
  #provenAt: Instant = NEVER;

  constructor(parts: NodeParts, replica: Replica, candidate: boolean, restored: RestoredAt, events: FollowingEvents) {
    this.#parts = parts;
    this.#replica = replica;
    this.#events = events;
    const { clock, random } = parts.settings;
    const settings = followSettings(parts, candidate);
    this.#settings = settings;
    const { newestAgeMs, readAt } = restored;
    const moment = momentOf(clock, random);
    const initial = beginFollow(replica.epoch, this.#hasLeader, newestAgeMs, readAt, settings, moment);
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

  /** How long epochs may have been missing here, in milliseconds. */
  get lagMs(): number {
    return lagMs(this.#machine.state, this.#settings, this.#parts.settings.clock.monotonicMs());
  }

  /** When what is applied was last found to be all that there is. */
  get provenAt(): Instant {
    return this.#provenAt;
  }

  /** How long ago an epoch was applied, in milliseconds. After long, that the next one is missing proves nothing. */
  get silentMs(): number {
    return elapsedMs(this.#machine.state.progressAt, readClock(this.#parts.settings.clock));
  }

  /** The newest epoch that the leader's stream told of; -1 if there is none. */
  get offeredEpoch(): number {
    return this.#machine.state.contact.offeredEpoch;
  }

  /** A leader's stream told of an epoch, or brought it. */
  offered(from: string, epoch: number, wal: Uint8Array | undefined): void {
    if (wal !== undefined && epoch > this.#replica.epoch) this.#pushed.put(epoch, wal);
    const isHere = this.#pushed.has(this.#replica.epoch + 1);
    this.#machine.dispatch({ type: "offered", from, epoch, isHere });
  }

  streamClosed(): void {
    this.#machine.dispatch({ type: "streamClosed" });
  }

  /** The leader's address refused or reset a connection. */
  leaderRefused(): void {
    this.#machine.dispatch({ type: "leaderRefused" });
  }

  /** Another node leads, as of the epoch that was applied. */
  leaderChanged(leader: string): void {
    this.#machine.dispatch({ type: "leaderChanged", leader });
  }

  /** The leader asked this node to lead next, and this node is about to accept. */
  accepting(): void {
    this.#machine.dispatch({ type: "accepting" });
  }

  /** The leader heard that and steps down. */
  handover(): void {
    this.#machine.dispatch({ type: "handover" });
  }

  /** The leadership that `onClaim` asked for is over. */
  leadershipEnded({ reason, wasLeading, isLeftBehind, provenAt }: LeadershipEnd): void {
    this.#machine.dispatch({
      type: "leadershipEnded",
      epoch: this.#replica.epoch,
      hasLeader: this.#hasLeader,
      steppedDown: reason === "steppedDown",
      provenAt,
      wasLeading,
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
        this.#events.onClaim(action.reason, action.provenAt);
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

  /** The epoch from the stream if it is there, or comes first; else from the store. */
  async #fetch(epoch: number): Promise<FollowEvent> {
    const applied = this.#applyPushed(epoch);
    if (applied !== undefined) return applied;
    const asked = instantOf(readClock(this.#parts.settings.clock));
    const isContinuous = this.silentMs <= this.#settings.sessionTimeoutMs;
    const asking = new AbortController();
    const signal = AbortSignal.any([this.#abort.signal, asking.signal]);
    const stored = this.#parts.store.get(walKey(epoch), { signal });
    stored.catch(() => {});
    await Promise.race([stored, this.#pushed.arrival(epoch)]);
    if (this.#isLate()) {
      asking.abort(new Error("the answer would come too late"));
      return { type: "fetchAnswered", found: "late" };
    }
    const pushed = this.#applyPushed(epoch);
    if (pushed !== undefined) {
      asking.abort(new Error("the leader's stream was faster"));
      return pushed;
    }
    const object = await stored;
    this.#abort.signal.throwIfAborted();
    if (this.#isLate()) return { type: "fetchAnswered", found: "late" };
    if (object === undefined) {
      // Who lags behind what is told of may find trimmed what came next.
      if (isContinuous && this.offeredEpoch < epoch && asked.ms > this.#provenAt.ms) this.#provenAt = asked;
      this.#events.onTrouble(undefined);
      return { type: "fetchAnswered", found: "missing" };
    }
    return this.#apply(object.bytes, object.key, "store");
  }

  /** A request that a pause delayed may bring what was trimmed and created again. */
  #isLate(): boolean {
    return mayBeTrimmed(this.#machine.state, readClock(this.#parts.settings.clock));
  }

  /** What was pushed is verified like any other; if it is wrong, the store decides. */
  #applyPushed(epoch: number): FollowEvent | undefined {
    const wal = this.#pushed.take(epoch);
    if (wal === undefined) return undefined;
    const event = this.#apply(wal, `epoch ${epoch} of the leader's stream`, "push");
    return event.type === "applied" ? event : undefined;
  }

  #apply(bytes: Uint8Array, what: string, source: EpochSource): FollowEvent {
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
    this.#events.onApplied(this.#replica.epoch, bytes.length, source);
    return { type: "applied", epoch: this.#replica.epoch, hasLeader: this.#hasLeader };
  }

  async #ask(afterEpoch: number): Promise<FollowEvent> {
    const later = await listLaterEpochs(this.#parts.store, afterEpoch, this.#abort.signal);
    return { type: "askAnswered", found: judgeLaterEpochs(afterEpoch, later) };
  }

  async #bootstrap(): Promise<FollowEvent> {
    const { store, log, settings } = this.#parts;
    log({ level: "warn", event: "bootstrapping_again", epoch: this.#replica.epoch });
    const { system } = this.#replica;
    const { signal } = this.#abort;
    const result = await restore({ ...restoreLimits(settings), store, system, log, signal, onProgress: undefined });
    this.#abort.signal.throwIfAborted();
    this.#replica.replace(result.state);
    this.#events.onTrouble(undefined);
    this.#events.onBootstrapped(result);
    const { readAt } = result;
    return { type: "bootstrapped", epoch: this.#replica.epoch, hasLeader: this.#hasLeader, readAt };
  }
}

function followSettings({ settings }: NodeParts, candidate: boolean): FollowSettings {
  const { pollIntervalMs, eagerPollIntervalMs, heartbeatIntervalMs, sessionTimeoutMs } = settings;
  const { fastFailover, retryBaseMs, retryMaxMs } = settings;
  return {
    candidate,
    pollIntervalMs,
    eagerPollIntervalMs,
    heartbeatIntervalMs,
    sessionTimeoutMs,
    fastFailover,
    retryBaseMs,
    retryMaxMs,
  };
}
