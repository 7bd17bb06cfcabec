import { describe, expect, it } from "vitest";
import { VirtualTime } from "../../../src/testing/simulator/virtual-time.ts";
import { newProcess } from "./world.ts";

describe("virtual time", () => {
  it("passes in the order of events, and rests between them until nothing is left to do", async () => {
    const time = new VirtualTime();
    const seen: string[] = [];
    time.schedule(20, () => seen.push(`c ${time.nowMs}`));
    time.schedule(10, async () => {
      seen.push(`a ${time.nowMs}`);
      for (let turn = 0; turn < 50; turn++) await null;
      seen.push(`a rests ${time.nowMs}`);
    });
    time.schedule(10, () => seen.push(`b ${time.nowMs}`));
    time.schedule(15, () => seen.push("never"))();
    await time.run(30);
    expect(seen).toEqual(["a 10", "a rests 10", "b 10", "c 20"]);
    expect(time.nowMs).toBe(30);
  });
});

describe("a process", () => {
  it("that is paused does nothing, its clocks go on, and what was due runs when it goes on", async () => {
    const time = new VirtualTime();
    const process = newProcess(time, "a");
    const fired: number[] = [];
    const beganMs = process.clock.monotonicMs();
    process.clock.after(10, () => fired.push(process.clock.monotonicMs() - beganMs));
    process.clock.after(500, () => fired.push(process.clock.monotonicMs() - beganMs));
    process.pause();
    await time.run(100);
    expect(fired).toEqual([]);
    process.resume();
    await time.run(1000);
    // Timers are never early, and a hair late.
    expect(fired.map(Math.floor)).toEqual([100, 500]);
  });

  it("that is suspended with its machine sees only its wall clock gone on, and its timers wait as long as before", async () => {
    const time = new VirtualTime();
    const process = newProcess(time, "a");
    const fired: number[] = [];
    process.clock.after(50, () => fired.push(time.nowMs));
    const [monotonicMs, wallMs] = [process.clock.monotonicMs(), process.clock.wallMs()];
    process.suspend();
    await time.run(10_000);
    process.resume();
    expect(process.clock.monotonicMs() - monotonicMs).toBe(0);
    expect(process.clock.wallMs() - wallMs).toBe(10_000);
    await time.run(20_000);
    expect(fired.map(Math.floor)).toEqual([10_050]);
  });

  it("that has ended does nothing any more", async () => {
    const time = new VirtualTime();
    const process = newProcess(time, "a");
    let fired = 0;
    process.clock.after(10, () => fired++);
    process.clock.soon(() => fired++);
    process.end();
    process.clock.after(10, () => fired++);
    await time.run(100);
    expect([fired, process.timerCount]).toEqual([0, 0]);
  });

  it("cancels a timer also while it is paused", async () => {
    const time = new VirtualTime();
    const process = newProcess(time, "a");
    let fired = 0;
    const cancel = process.clock.after(10, () => fired++);
    process.pause();
    await time.run(100);
    cancel();
    process.resume();
    await time.run(200);
    expect(fired).toBe(0);
  });

  it("that waits for a clock by the clock is not woken early, whatever its rate: it would wait again for nothing", async () => {
    for (let count = 1; count <= 100; count++) {
      const time = new VirtualTime();
      const { clock } = newProcess(time, "a", 1 + count / 99_991);
      await time.run(1000 / count);
      let wakes = 0;
      const untilMs = clock.monotonicMs() + 1_234_567.891 / count;
      const wait = () => {
        if (++wakes < 5 && clock.monotonicMs() < untilMs) clock.after(untilMs - clock.monotonicMs(), wait);
      };
      wait();
      await time.run(2_000_000);
      expect(wakes, `clock ${count}`).toBe(2);
    }
  });

  it("time that cannot pass is an error", async () => {
    const time = new VirtualTime();
    const again = () => void time.schedule(0, again);
    again();
    await expect(time.run(1)).rejects.toThrow("time stands still at 0 ms");
  });
});
