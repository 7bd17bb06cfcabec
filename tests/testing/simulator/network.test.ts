/** The simulated network behaves as the real one does towards `Peer`, and its faults are felt: else simulations prove nothing. */
import { describe, expect, it } from "vitest";
import { newWorld, watch } from "./world.ts";

const textOf = (response: { text(): Promise<string> }) => response.text();

describe("a request", () => {
  it("is answered, some time later", async () => {
    const { time, peer } = await newWorld(async (request) => new Response(`${request.method} ${await request.text()}`));
    const answer = watch(peer.request({ method: "POST", path: "/", body: "lol" }).then(textOf));
    await time.run(0.1);
    expect(answer).toEqual({});
    await time.run(100);
    expect(answer).toEqual({ value: "POST lol" });
  });

  it("to a machine where nobody listens is refused, unsent", async () => {
    const { time, network, b, peer } = await newWorld();
    b.end();
    network.ended(b);
    const answer = watch(peer.request({ path: "/" }));
    await time.run(100);
    expect(answer.error).toMatchObject({ code: "peer_unreachable", details: { sent: false, isConnected: false } });
  });

  it("in flight when the process dies is lost, and may have been processed", async () => {
    const { time, network, b, peer } = await newWorld(() => new Promise<Response>(() => {}));
    const answer = watch(peer.request({ method: "POST", path: "/" }));
    await time.run(100);
    b.end();
    network.ended(b);
    await time.run(200);
    expect(answer.error).toMatchObject({ kind: "outcome_unknown", code: "peer_lost", details: { sent: true } });
  });

  it("that is given up aborts the handler's signal", async () => {
    let isAborted = false;
    const { time, peer } = await newWorld(
      (request) => new Promise<Response>(() => request.signal.addEventListener("abort", () => (isAborted = true))),
    );
    const abort = new AbortController();
    const answer = watch(peer.request({ path: "/", signal: abort.signal }));
    await time.run(100);
    abort.abort(new Error("enough"));
    await time.run(200);
    expect(answer.error).toMatchObject({ message: "enough" });
    expect(isAborted).toBe(true);
  });

  it("to a process that is paused waits for it, and is lost when pings are not answered", async () => {
    const { time, network, b, peer } = await newWorld();
    watch(peer.request({ path: "/" }));
    await time.run(100);
    b.pause();
    network.silenced();
    const short = watch(peer.request({ path: "/" }).then(textOf));
    await time.run(1000);
    expect(short).toEqual({});
    b.resume();
    await time.run(1100);
    expect(short).toEqual({ value: "hello" });
    b.pause();
    network.silenced();
    const long = watch(peer.request({ path: "/" }));
    await time.run(20_000);
    expect(long.error).toMatchObject({ code: "peer_lost" });
  });
});

describe("a way that is cut", () => {
  it("delivers what was sent when it is mended, in order", async () => {
    const seen: string[] = [];
    const { time, network, peer } = await newWorld((request) => {
      seen.push(new URL(request.url).pathname);
      return new Response("ok");
    });
    watch(peer.request({ path: "/0" }));
    await time.run(100);
    network.cut("a", "b");
    for (let index = 1; index <= 20; index++) {
      watch(peer.request({ path: `/${index}` }));
      await time.run(100 + index * 50);
    }
    expect(seen).toEqual(["/0"]);
    network.mend("a", "b");
    for (let index = 21; index <= 30; index++) {
      watch(peer.request({ path: `/${index}` }));
      await time.run(time.nowMs + 0.2);
    }
    await time.run(2000);
    expect(seen).toEqual(Array.from({ length: 31 }, (_, index) => `/${index}`));
  });

  it("in one direction loses answers, not requests", async () => {
    let served = 0;
    const { time, network, peer } = await newWorld(() => {
      served++;
      return new Response("ok");
    });
    watch(peer.request({ path: "/" }));
    await time.run(100);
    network.cut("b", "a");
    const answer = watch(peer.request({ path: "/" }));
    await time.run(1000);
    expect([served, answer]).toEqual([2, {}]);
    await time.run(10_000);
    expect(answer.error).toMatchObject({ details: { sent: true } });
  });

  it("lets no connection be made: the attempt times out", async () => {
    const { time, network, peer } = await newWorld();
    network.cut("a", "b");
    const answer = watch(peer.request({ path: "/" }));
    await time.run(4900);
    expect(answer).toEqual({});
    await time.run(5100);
    expect(answer.error).toMatchObject({ code: "peer_unreachable", details: { sent: false } });
  });
});

describe("a stream", () => {
  it("arrives as it is written, is held to a window, and ends", async () => {
    let written = 0;
    const body = () =>
      new ReadableStream<Uint8Array>({
        pull(controller) {
          written++;
          controller.enqueue(new Uint8Array(65_536));
          if (written === 40) controller.close();
        },
      });
    const { time, a, network, peer } = await newWorld(() => new Response(body()));
    const answer = watch(peer.request({ path: "/" }).then((response) => response.bytes()));
    await time.run(0.5);
    a.pause();
    network.silenced();
    await time.run(500);
    expect(written).toBeLessThan(10);
    a.resume();
    await time.run(2000);
    expect(answer.value?.length).toBe(40 * 65_536);
  });
});

describe("a listener that closes", () => {
  it("sends clients away, lets answers finish, cuts what takes too long", async () => {
    const answers: ((response: Response) => void)[] = [];
    const { time, network, b } = await newWorld();
    const fetch = () => new Promise<Response>((resolve) => answers.push(resolve));
    const listener = await network.transportOf(b).listen({ host: "b", port: 8000, fetch, clock: b.clock });
    const { Peer } = await import("../../../src/net/peer.ts");
    const peer = new Peer("http://b:8000", { transport: network.transportOf(b), clock: b.clock });
    const [first, second] = [watch(peer.request({ path: "/" }).then(textOf)), watch(peer.request({ path: "/" }))];
    await time.run(100);
    const closed = watch(listener.close(1000));
    answers[0]?.(new Response("late"));
    await time.run(500);
    expect(first).toEqual({ value: "late" });
    expect([peer.state, closed]).toEqual(["draining", {}]);
    await time.run(1500);
    expect(second.error).toMatchObject({ code: "peer_lost" });
    expect("value" in closed).toBe(true);
    const refused = watch(peer.request({ path: "/" }));
    await time.run(3000);
    expect(refused.error).toMatchObject({ code: "peer_unreachable" });
  });
});
