import { describe, expect, it } from "vitest";
import { guardSession } from "../../src/net/session-guard.ts";
import { Child, currentRuntime } from "./support.ts";

/** One crash is enough; each try is 30 connections. */
const TRIES = 5;

async function survives(mode: "guarded" | "bare"): Promise<boolean> {
  const child = new Child("deno", "goaway.ts", [mode]);
  const { code } = await child.exited;
  return code === 0;
}

describe("denoland/deno#36788: GOAWAY on Deno", () => {
  it("does not end the process with the guard", { timeout: 20_000 }, async () => {
    for (let i = 0; i < 2; i++) expect(await survives("guarded")).toBe(true);
  });

  it("still does without the guard", { timeout: 20_000 }, async () => {
    let crashed = false;
    for (let i = 0; i < TRIES && !crashed; i++) crashed = !(await survives("bare"));
    expect(crashed, "this Deno survives without it: the workaround in src/net/session-guard.ts can go").toBe(true);
  });

  it.skipIf(currentRuntime() === "deno")("changes nothing on other runtimes", () => {
    const session = { close: () => {}, destroy: () => {} };
    const { close, destroy } = session;
    expect(guardSession(session)).toBe(session);
    expect([session.close, session.destroy]).toEqual([close, destroy]);
  });
});
