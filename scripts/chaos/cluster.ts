/** The members of a run, and who of them leads. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ClusterOptions } from "../../src/mod.ts";
import { RUNTIMES, type RuntimeName } from "../../tests/support/runtimes.ts";

import { Digests } from "./digests.ts";
import { freePort, Link } from "./link.ts";
import { Member, type UnexpectedEnd } from "./member-process.ts";
import type { StateAnswer } from "./member-protocol.ts";
import type { ChaosStore } from "./stores.ts";

const LOOK_PAUSE_MS = 250;
/** Who is stopped does not keep the others waiting. */
const LOOK_MAX_MS = 500;
/** The bytes are looked at that much more rarely. */
const LOOKS_PER_DIGEST = 6;

export interface ClusterPlan {
  readonly nodeCount: number;
  readonly settings: Omit<ClusterOptions, "store">;
  readonly store: ChaosStore;
  readonly logDirectory: string;
}

export class Cluster {
  readonly members: readonly Member[];
  readonly unexpectedEnds: UnexpectedEnd[] = [];
  readonly digests: Digests = new Digests();
  readonly #looking = new AbortController();
  #states: readonly (StateAnswer | undefined)[] = [];
  #isClosing = false;

  private constructor(make: (onUnexpectedEnd: (end: UnexpectedEnd) => void) => readonly Member[]) {
    this.members = make((end) => {
      if (this.#isClosing) return;
      this.unexpectedEnds.push(end);
      // The run goes on with as many as before.
      this.members.find(({ name }) => name === end.member)?.start();
    });
  }

  /** Starts everybody. The runtimes take turns; the last of more than three never leads. */
  static async start({ nodeCount, settings, store, logDirectory }: ClusterPlan): Promise<Cluster> {
    const ports: { readonly port: number; readonly link: Link }[] = [];
    for (let index = 0; index < nodeCount; index++) {
      const port = await freePort();
      ports.push({ port, link: await Link.open(port) });
    }
    const cluster = new Cluster((onUnexpectedEnd) =>
      ports.map(({ port, link }, index) => {
        const runtime = RUNTIMES[index % RUNTIMES.length] as RuntimeName;
        const name = `m${index}-${runtime}`;
        const kind = nodeCount > 3 && index === nodeCount - 1 ? "follower" : "leader";
        const address = `127.0.0.1:${port}`;
        const config = {
          store: store.url,
          kind,
          az: `AZ${index % 2}`,
          address,
          advertise: link.address,
          settings,
        } as const;
        const { environment } = store;
        const logFile = join(logDirectory, `${name}.log`);
        return new Member({ name, runtime, config, environment, link, logFile, onUnexpectedEnd });
      }),
    );
    for (const member of cluster.members) member.start();
    void cluster.#look();
    return cluster;
  }

  /** What each member last said of itself, a quarter of a second ago. */
  get states(): readonly (StateAnswer | undefined)[] {
    return this.#states;
  }

  /** A member that says that it leads; of two that do, the one that is further. */
  leader(): Member | undefined {
    let found = -1;
    for (const [index, state] of this.#states.entries())
      if (state?.isLeader && state.epoch > (this.#states[found]?.epoch ?? -1)) found = index;
    return this.members[found];
  }

  /** Kills whoever is left. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#looking.abort();
    await Promise.all(this.members.map((member) => member.close()));
  }

  async #look(): Promise<void> {
    for (let looks = 0; !this.#looking.signal.aborted; looks++) {
      const withDigest = looks % LOOKS_PER_DIGEST === 0;
      this.#states = await Promise.all(
        this.members.map((member) => member.state(withDigest, LOOK_MAX_MS).catch(() => undefined)),
      );
      for (const state of this.#states) if (state !== undefined) this.digests.add(state);
      await sleep(LOOK_PAUSE_MS);
    }
  }
}
