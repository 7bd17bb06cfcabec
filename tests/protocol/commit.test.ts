import { describe, expect, test } from "vitest";
import {
  acceptsTransactions,
  beginCommit,
  type CommitAction,
  type CommitEvent,
  type CommitSettings,
  type CommitState,
  stepCommit,
} from "../../src/protocol/commit.ts";
import { type Instant, NEVER } from "../../src/protocol/moment.ts";

const SETTINGS: CommitSettings = {
  heartbeatIntervalMs: 5_000,
  sessionTimeoutMs: 20_000,
  retryBaseMs: 100,
  retryMaxMs: 1_000,
  budget: undefined,
};

function actionText(action: CommitAction): string {
  if (action.type === "seal") return `seal ${action.epoch} ${action.leader}`;
  if (action.type !== "end") return `${action.type} ${action.epoch}`;
  return `end ${action.reason} ${action.sealedEpoch}${action.deleteOurs ? " delete" : ""}`;
}

function eventOf(text: string): CommitEvent {
  const [type = "", answer = ""] = text.split(" ");
  if (type === "put") return { type: "putAnswered", outcome: answer as "created" };
  if (type === "readBack") return { type: "readBackAnswered", found: answer as "ours" };
  if (type === "audit") return { type: "auditAnswered", found: answer as "none" };
  return { type: type as "tick" };
}

/** Runs lines of `ms: event → actions; wake ms`, and compares what comes out. Times count from the first line. */
class Scenario {
  state: CommitState;
  readonly settings: CommitSettings;
  wallOffsetMs = 0;

  constructor(settings: Partial<CommitSettings> = {}, provenAt: Instant = NEVER) {
    this.settings = { ...SETTINGS, ...settings };
    this.state = beginCommit(6, provenAt, this.settings, { nowMs: 0, wallMs: 0, fraction: 0 });
  }

  step(nowMs: number, text: string): string {
    const moment = { nowMs, wallMs: nowMs + this.wallOffsetMs, fraction: 0 };
    const { state, actions, wakeAtMs } = stepCommit(this.state, eventOf(text), this.settings, moment);
    this.state = state;
    const wake = Number.isFinite(wakeAtMs) ? [`wake ${Math.round(wakeAtMs)}`] : [];
    return [...actions.map(actionText), ...wake].join(", ") || "-";
  }

  play(table: string): void {
    const lines = table
      .trim()
      .split("\n")
      .map((line) => line.trim());
    const played = lines.map((line) => {
      const [, time, event] = /^(\d+): (.*?) →/.exec(line) ?? expect.fail(line);
      return `${time}: ${event} → ${this.step(Number(time), event as string)}`;
    });
    expect(played).toEqual(lines);
  }

  /** A leader with epoch 7 durable, its PUT begun at 0. */
  static leading(settings: Partial<CommitSettings> = {}): Scenario {
    const scenario = new Scenario(settings);
    for (const event of ["tick", "put created", "audit none"]) scenario.step(0, event);
    return scenario;
  }
}

describe("the claim", () => {
  test("asks whether history went on before it leads, and accepts transactions only then", () => {
    const scenario = new Scenario();
    scenario.play("0: tick → seal 7 claim, put 7");
    expect(acceptsTransactions(scenario.state, scenario.settings, 1)).toBe(false);
    scenario.play(`
      10: put created → audit 7
      20: audit none → acknowledge 7, wake 5000`);
    expect(acceptsTransactions(scenario.state, scenario.settings, 1)).toBe(true);
  });

  test("that is lost ends it, not written", () => {
    new Scenario().play(`
      0: tick → seal 7 claim, put 7
      10: put exists → readBack 7
      20: readBack other → end fenced notWritten`);
  });
});

describe("writes", () => {
  test("a lone write costs one PUT, at once", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      1050: put created → acknowledge 8, wake 6000`);
  });

  test("what comes while a PUT is under way gathers into one epoch", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      1001: submitted → -
      1002: submitted → -
      1003: tick → -
      1050: put created → acknowledge 8, seal 9 keep, put 9
      1100: put created → acknowledge 9, wake 6050`);
  });

  test("with nothing to write, an epoch every heartbeat interval from the last PUT's beginning", () => {
    Scenario.leading().play(`
      4999: tick → wake 5000
      5000: tick → seal 8 keep, put 8
      5100: put created → acknowledge 8, wake 10000
      10000: tick → seal 9 keep, put 9`);
  });

  test("the budget turns writes into batches; the heartbeat does not wait for it", () => {
    const scenario = Scenario.leading({ budget: { perSecond: 0.1, burst: 1 } });
    scenario.play(`
      0: submitted → wake 5000
      100: submitted → wake 5000
      5000: tick → seal 8 keep, put 8
      5010: put created → acknowledge 8, wake 10000`);
    const faster = Scenario.leading({ budget: { perSecond: 2, burst: 1 } });
    faster.play(`
      0: submitted → wake 500
      400: submitted → wake 500
      500: tick → seal 8 keep, put 8
      510: put created → acknowledge 8, wake 5500
      520: submitted → wake 1000
      1000: tick → seal 9 keep, put 9`);
  });
});

describe("P6: answers of the store", () => {
  test("a failed PUT is repeated for the same epoch, later and later, without sealing again", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      2000: put failed → wake 2050
      2049: tick → wake 2050
      2050: tick → put 8
      3000: put failed → wake 3100
      3100: tick → readBack 8
      3200: readBack missing → put 8
      4000: put failed → wake 4200
      4200: submitted → wake 4200
      4201: tick → readBack 8
      4250: readBack missing → put 8
      4300: put created → acknowledge 8, seal 9 keep, put 9`);
  });

  test("P3: a leader whose PUTs are refused learns by reading back that another one leads", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      2000: put failed → wake 2050
      2050: tick → put 8
      3000: put failed → wake 3100
      3100: tick → readBack 8
      3200: readBack other → end fenced notWritten`);
  });

  test("exists and ours: the answer was lost, it is durable", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      2000: put failed → wake 2050
      2050: tick → put 8
      2100: put exists → readBack 8
      2200: readBack ours → acknowledge 8, wake 6000`);
  });

  test("P6: exists and other, long after: ours may have been part of history and trimmed since", () => {
    const scenario = Scenario.leading();
    scenario.play("1000: submitted → seal 8 keep, put 8");
    scenario.wallOffsetMs = 2 * 60 * 60_000;
    scenario.play(`
      1100: put exists → readBack 8
      1200: readBack other → end fenced unknown`);
  });

  test("P6: a machine that was suspended does not report an epoch as not written that history may have built upon", () => {
    const scenario = Scenario.leading();
    scenario.play("1000: submitted → seal 8 keep, put 8");
    scenario.wallOffsetMs = 2 * 60 * 60_000;
    scenario.play(`
      1100: put created → audit 8
      1200: audit withoutUs → end fenced unknown delete`);
  });

  test("exists and other: fenced, and not written", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      1100: put exists → readBack 8
      1200: readBack other → end fenced notWritten
      1300: submitted → -
      9999: tick → -`);
  });

  test("exists, then missing: it is put again; a failed read back is read again", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      1100: put exists → readBack 8
      1200: readBack failed → wake 1250
      1250: tick → readBack 8
      1300: readBack missing → put 8
      1500: put created → acknowledge 8, wake 6000`);
  });

  test("P10: what cannot be read is read again, eight times; then nobody can tell whose it is", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      1100: put exists → readBack 8
      1200: readBack damaged → wake 1250
      1250: tick → readBack 8
      1300: readBack damaged → wake 1400
      1400: tick → readBack 8
      1500: readBack damaged → wake 1700
      1700: tick → readBack 8
      1800: readBack damaged → wake 2200
      2200: tick → readBack 8
      2300: readBack failed → wake 2800
      2800: tick → readBack 8
      2900: readBack damaged → wake 3400
      3400: tick → readBack 8
      3500: readBack damaged → wake 4000
      4000: tick → readBack 8
      4100: readBack damaged → wake 4600
      4600: tick → readBack 8
      4700: readBack damaged → end fenced unknown`);
  });

  test("answers that nobody waits for change nothing", () => {
    Scenario.leading().play(`
      100: put created → wake 5000
      100: readBack other → wake 5000
      100: audit withoutUs → wake 5000
      100: sealFailed → wake 5000
      1000: submitted → seal 8 keep, put 8
      1001: readBack other → -
      1001: audit unknown → -
      1100: put created → acknowledge 8, wake 6000
      1101: put created → wake 6000`);
  });
});

describe("after silence longer than the session time-out, history is asked before anything is acknowledged", () => {
  const late = (wallOnly: boolean): Scenario => {
    const scenario = Scenario.leading();
    scenario.play("1000: submitted → seal 8 keep, put 8");
    if (wallOnly) scenario.wallOffsetMs = 19_001;
    return scenario;
  };

  test("by the monotonic clock, from the last durable PUT's beginning: not at the time-out, but past it", () => {
    late(false).play("20000: put created → acknowledge 8, seal 9 keep, put 9");
    late(false).play("20001: put created → audit 8");
  });

  test("by the wall clock: the machine was suspended", () => {
    late(true).play("1000: put created → audit 8");
  });

  test("also when the object is read back as ours", () => {
    const scenario = late(false);
    scenario.play(`
      20001: put exists → readBack 8
      20002: readBack ours → audit 8`);
  });

  test.each([
    ["none", "acknowledge 8, seal 9 keep, put 9"],
    ["successor", "acknowledge 8, end fenced acknowledged"],
    ["withoutUs", "end fenced unknown"],
    ["unknown", "end fenced unknown"],
    ["failed", "wake 20052"],
    ["damaged", "wake 20052"],
  ])("the answer %s: %s", (answer, actions) => {
    late(false).play(`
      20001: put created → audit 8
      20002: audit ${answer} → ${actions}`);
  });

  test("a failed question is asked again, never skipped", () => {
    late(false).play(`
      20001: put created → audit 8
      20002: audit failed → wake 20052
      20052: tick → audit 8
      20060: audit failed → wake 20160
      20160: tick → audit 8
      20170: audit successor → acknowledge 8, end fenced acknowledged`);
  });

  test("so late that ours may have been part of history and trimmed since, the outcome is unknown", () => {
    late(false).play(`
      1801001: put created → audit 8
      1801001: audit withoutUs → end fenced unknown delete`);
    late(false).play(`
      1800001: put created → audit 8
      1801000: audit withoutUs → end fenced notWritten delete`);
  });

  test("P1: so soon that nothing can have been trimmed, nothing is deleted", () => {
    late(false).play(`
      1800000: put created → audit 8
      1800000: audit withoutUs → end fenced unknown`);
  });

  test("no transaction is accepted meanwhile", () => {
    const { state, settings } = late(false);
    expect([20_000, 20_001].map((now) => acceptsTransactions(state, settings, now))).toEqual([true, false]);
  });
});

describe("P10: seals that fail", () => {
  test("back off, take nothing to the store, and start over when one works", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      1000: sealFailed → wake 5000
      1001: submitted → wake 1050
      1050: tick → seal 8 keep, put 8
      1050: sealFailed → wake 5000
      1051: submitted → wake 1150
      1150: tick → seal 8 keep, put 8
      1200: put created → acknowledge 8, wake 6150
      1300: submitted → seal 9 keep, put 9
      1300: sealFailed → wake 6150
      1301: submitted → wake 1350`);
  });

  test("of the claim, the heartbeat and the last epoch too: no hot loop", () => {
    new Scenario().play(`
      0: tick → seal 7 claim, put 7
      0: sealFailed → wake 50
      0: tick → wake 50
      50: tick → seal 7 claim, put 7`);
    Scenario.leading().play(`
      5000: tick → seal 8 keep, put 8
      5000: sealFailed → wake 5050
      5001: stepDown → wake 5050
      5050: tick → seal 8 remove, put 8
      5050: sealFailed → wake 5150`);
  });
});

describe("stepping down", () => {
  test("with nothing pending: one last epoch without a leader", () => {
    const scenario = Scenario.leading();
    scenario.play("1000: stepDown → seal 8 remove, put 8");
    expect(acceptsTransactions(scenario.state, scenario.settings, 1000)).toBe(false);
    scenario.play("1100: put created → acknowledge 8, end steppedDown acknowledged");
    expect(scenario.state.durableEpoch).toBe(8);
  });

  test("with a PUT under way and writes pending: all become durable first", () => {
    Scenario.leading().play(`
      1000: submitted → seal 8 keep, put 8
      1010: submitted → -
      1020: stepDown → -
      1100: put created → acknowledge 8, seal 9 remove, put 9
      1200: put failed → wake 1250
      1250: tick → put 9
      1300: put exists → readBack 9
      1400: readBack ours → acknowledge 9, end steppedDown acknowledged`);
  });

  test("before the claim is durable: the claim, then the end", () => {
    new Scenario().play(`
      0: tick → seal 7 claim, put 7
      1: stepDown → -
      2: put created → audit 7
      3: audit none → acknowledge 7, seal 8 remove, put 8`);
  });

  test("is fenced like anyone", () => {
    Scenario.leading().play(`
      1000: stepDown → seal 8 remove, put 8
      1100: put exists → readBack 8
      1200: readBack other → end fenced notWritten
      1300: stepDown → -`);
  });
});
