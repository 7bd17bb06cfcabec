import { Peer } from "../../../src/net/peer.ts";
import type { FetchHandler } from "../../../src/net/server.ts";
import { SimulatedNetwork } from "../../../src/testing/simulator/network.ts";
import { SimulatedProcess } from "../../../src/testing/simulator/process.ts";
import { SeededRandom } from "../../../src/testing/simulator/seeded-random.ts";
import { VirtualTime } from "../../../src/testing/simulator/virtual-time.ts";

/** Two machines, `a` that asks and `b` that serves. */
export interface World {
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly a: SimulatedProcess;
  readonly b: SimulatedProcess;
  readonly peer: Peer;
}

export const ADDRESS = "b:7000";

export function newProcess(time: VirtualTime, name: string, clockRate: number = 1): SimulatedProcess {
  return new SimulatedProcess({ name, host: name, time, random: new SeededRandom(name), clockRate });
}

export async function newWorld(fetch: FetchHandler = () => new Response("hello")): Promise<World> {
  const time = new VirtualTime();
  const network = new SimulatedNetwork({ time, random: new SeededRandom("network") });
  const [a, b] = [newProcess(time, "a"), newProcess(time, "b")] as const;
  await network.transportOf(b).listen({ host: "b", port: 7000, fetch, clock: b.clock });
  const peer = new Peer(`http://${ADDRESS}`, { transport: network.transportOf(a), clock: a.clock, random: a.random });
  return { time, network, a, b, peer };
}

/** What a promise has come to. */
export interface Watched<T> {
  value?: T;
  error?: unknown;
}

export function watch<T>(promise: Promise<T>): Watched<T> {
  const watched: Watched<T> = {};
  promise.then(
    (value) => {
      watched.value = value;
    },
    (error: unknown) => {
      watched.error = error;
    },
  );
  return watched;
}
