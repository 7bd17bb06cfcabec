import { describe, expect, test } from "vitest";
import {
  beginFollow,
  type FollowAction,
  type FollowEvent,
  type FollowSettings,
  type FollowState,
  stepFollow,
} from "../../src/protocol/follow.ts";
import { seededRandom } from "../support/seeded-random.ts";

const SETTINGS: FollowSettings = {
  candidate: true,
  pollIntervalMs: 1_000,
  eagerPollIntervalMs: 50,
  sessionTimeoutMs: 20_000,
  retryBaseMs: 100,
  retryMaxMs: 1_000,
};

function eventOf(text: string): FollowEvent {
  const [type = "", a = "", b = ""] = text.split(" ");
  switch (type) {
    case "missing":
      return { type: "fetchAnswered", found: "missing" };
    case "fetchFailed":
      return { type: "fetchAnswered", found: "failed" };
    case "applied":
      return { type: "applied", epoch: Number(a), hasLeader: b !== "vacant" };
    case "asked":
      return { type: "askAnswered", found: a as "none" };
    case "damaged":
    case "diverged":
      return { type: "refused", reason: type };
    case "bootstrapped":
      return { type: "bootstrapped", epoch: Number(a), hasLeader: true };
    case "wanted":
      return { type: "wanted", epoch: Number(a), untilMs: Number(b) };
    case "fenced":
    case "steppedDown":
      return {
        type: "leadershipEnded",
        epoch: Number(a),
        hasLeader: type === "fenced",
        steppedDown: type !== "fenced",
      };
    default:
      return { type: type as "tick" };
  }
}

function actionText(action: FollowAction): string {
  if (action.type === "fetch") return `fetch ${action.epoch}`;
  if (action.type === "ask") return `ask after ${action.afterEpoch}`;
  return action.type;
}

/** A node at epoch 7, which says that there is a leader, at time 0. */
class Scenario {
  state: FollowState;
  readonly settings: FollowSettings;
  wallOffsetMs = 0;
  fraction = 0;

  constructor({ newestAgeMs = 0, ...settings }: Partial<FollowSettings> & { newestAgeMs?: number } = {}) {
    this.settings = { ...SETTINGS, ...settings };
    this.state = beginFollow(7, true, newestAgeMs, this.settings, { nowMs: 0, wallMs: 0, fraction: 0 });
  }

  step(nowMs: number, text: string): string {
    const moment = { nowMs, wallMs: nowMs + this.wallOffsetMs, fraction: this.fraction };
    const { state, actions, wakeAtMs } = stepFollow(this.state, eventOf(text), this.settings, moment);
    this.state = state;
    const wake = Number.isFinite(wakeAtMs) ? [`wake ${Math.round(wakeAtMs)}`] : [];
    return [...actions.map(actionText), ...wake].join(", ") || "-";
  }

  play(table: string): this {
    const lines = table
      .trim()
      .split("\n")
      .map((line) => line.trim());
    const played = lines.map((line) => {
      const [, time, event] = /^(\d+): (.*?) →/.exec(line) ?? expect.fail(line);
      return `${time}: ${event} → ${this.step(Number(time), event as string)}`;
    });
    expect(played).toEqual(lines);
    return this;
  }
}

describe("following", () => {
  test("epoch after epoch at once, then a poll every interval", () => {
    new Scenario().play(`
      0: tick → fetch 8
      5: applied 8 → fetch 9
      10: applied 9 → fetch 10
      15: missing → wake 1015
      900: tick → wake 1015
      1015: tick → fetch 10
      1020: missing → wake 2020`);
  });

  test("failures back off and do not end it; a success forgets them", () => {
    new Scenario().play(`
      0: tick → fetch 8
      10: fetchFailed → wake 60
      60: tick → fetch 8
      70: fetchFailed → wake 170
      170: tick → fetch 8
      180: damaged → wake 380
      380: tick → fetch 8
      390: fetchFailed → wake 790
      790: tick → fetch 8
      800: fetchFailed → wake 1300
      1300: tick → fetch 8
      1310: applied 8 → fetch 9
      1320: fetchFailed → wake 1370`);
  });

  test("an answer that nobody waits for changes nothing", () => {
    new Scenario().play(`
      0: tick → fetch 8
      5: missing → wake 1005
      6: missing → wake 1005
      6: asked none → wake 1005
      6: asked hole → wake 1005`);
  });
});

describe("sync", () => {
  test("polls eagerly until the epoch is there", () => {
    new Scenario().play(`
      0: tick → fetch 8
      5: missing → wake 1005
      100: wanted 9 5000 → fetch 8
      110: missing → wake 160
      160: tick → fetch 8
      170: applied 8 → fetch 9
      180: missing → wake 230
      230: tick → fetch 9
      240: applied 9 → fetch 10
      250: missing → wake 1250`);
  });

  test("and only until its limit; an epoch that is there costs nothing", () => {
    new Scenario().play(`
      0: tick → fetch 8
      5: missing → wake 1005
      6: wanted 7 5000 → wake 1005
      100: wanted 9 150 → fetch 8
      110: missing → wake 160
      160: tick → fetch 8
      170: missing → wake 1170`);
  });

  test("P10: however many wait, a store that fails is not asked more often", () => {
    new Scenario().play(`
      0: tick → fetch 8
      5: fetchFailed → wake 55
      6: wanted 9 5000 → wake 55
      7: wanted 10 5000 → wake 55
      55: tick → fetch 8
      60: fetchFailed → wake 160
      61: wanted 9 5000 → wake 160`);
  });
});

describe("election", () => {
  test("rule 1: the leader row is absent: a claim after a random delay up to 100 ms", () => {
    const scenario = new Scenario();
    scenario.fraction = 0.5;
    scenario.play(`
      0: tick → fetch 8
      5: applied 8 vacant → fetch 9
      10: missing → wake 60
      59: tick → wake 60
      60: tick → claim
      61: tick → -
      70: fenced 9 → fetch 10`);
  });

  test("rule 1: whoever sees another's claim first does not claim", () => {
    new Scenario().play(`
      0: tick → fetch 8
      5: applied 8 vacant → fetch 9
      10: applied 9 → fetch 10
      15: missing → wake 1015
      1015: tick → fetch 10`);
  });

  test("rule 2: no epoch for a session time-out: asks, then claims", () => {
    new Scenario({ pollIntervalMs: 15_000 }).play(`
      0: tick → fetch 8
      5: missing → wake 15005
      15005: tick → fetch 8
      15010: missing → wake 30010
      30010: tick → ask after 7
      30020: asked none → claim`);
    new Scenario({ pollIntervalMs: 20_000 }).play(`
      0: tick → fetch 8
      0: missing → wake 20000
      20000: tick → fetch 8
      20001: missing → wake 40001`);
  });

  test("rule 3: the newest epoch was old at join: asks at once, then claims; 2 s are allowed for the store's clock", () => {
    new Scenario({ newestAgeMs: 22_001 }).play(`
      0: tick → ask after 7
      10: asked none → claim`);
    new Scenario({ newestAgeMs: 22_000 }).play("0: tick → fetch 8");
  });

  test("rule 3: a leader that wrote meanwhile is followed", () => {
    new Scenario({ newestAgeMs: 30_000 }).play(`
      0: tick → ask after 7
      10: asked next → fetch 8
      20: applied 8 → fetch 9
      30: missing → wake 1030
      1030: tick → fetch 9`);
  });

  test("a follower never claims, by no rule", () => {
    new Scenario({ candidate: false, newestAgeMs: 99_000, pollIntervalMs: 30_000 }).play(`
      0: tick → fetch 8
      5: applied 8 vacant → fetch 9
      10: missing → wake 30010
      30010: tick → ask after 8
      30020: asked none → wake 60020
      60020: tick → ask after 8
      60030: asked none → wake 90030`);
  });

  test("a node that stepped down lets others go first", () => {
    new Scenario().play(`
      0: steppedDown 9 → fetch 10
      10: missing → wake 1010
      1010: tick → fetch 10
      1020: missing → wake 2020
      2020: tick → fetch 10
      2030: missing → wake 3030
      3030: tick → fetch 10
      3040: missing → wake 4040
      4040: tick → fetch 10
      4050: missing → wake 4100
      4100: tick → claim`);
  });
});

describe("after silence longer than the session time-out", () => {
  const silent = (wallOnly = false): Scenario => {
    const scenario = new Scenario({ candidate: false }).play(`
      0: tick → fetch 8
      5: missing → wake 1005`);
    if (wallOnly) scenario.wallOffsetMs = 20_000;
    return scenario;
  };

  test("no epoch is fetched on trust, by either clock", () => {
    silent().play("20001: tick → ask after 7");
    silent(true).play("1005: tick → ask after 7");
    silent().play("20000: tick → fetch 8");
  });

  test("a hole means that our epochs are gone: it bootstraps, and goes on from there", () => {
    silent().play(`
      20001: tick → ask after 7
      20010: asked hole → bootstrap
      20020: tick → -
      21000: bootstrapFailed → wake 21050
      21050: tick → ask after 7
      21060: asked hole → bootstrap
      22000: bootstrapped 90 → fetch 91
      22010: missing → wake 23010
      23010: tick → fetch 91`);
  });

  test("a question that fails is asked again before anything is fetched", () => {
    silent().play(`
      20001: tick → ask after 7
      20010: asked failed → wake 20060
      20060: tick → ask after 7
      20070: asked failed → wake 20170
      20170: tick → ask after 7
      20180: asked next → fetch 8`);
  });

  test("the store is asked once a session time-out, not at every poll", () => {
    silent().play(`
      20001: tick → ask after 7
      20010: asked none → wake 21010
      21010: tick → fetch 8
      21020: missing → wake 22020
      40002: tick → ask after 7`);
  });
});

test("P7: who diverged bootstraps; every second time it waits, longer and longer", () => {
  new Scenario().play(`
    0: tick → fetch 8
    5: diverged → bootstrap
    10: bootstrapped 7 → fetch 8
    15: diverged → wake 215
    215: tick → fetch 8
    220: diverged → bootstrap
    230: bootstrapped 7 → fetch 8
    235: diverged → wake 735
    735: tick → fetch 8
    740: applied 8 → fetch 9
    745: diverged → bootstrap`);
});

test("whatever happens, one thing at a time is under way, or it wakes up in finite time (1 000 seeded runs)", () => {
  const answers: Record<string, readonly string[]> = {
    fetching: ["missing", "missing", "fetchFailed", "applied", "applied vacant", "damaged", "diverged"],
    asking: ["asked none", "asked next", "asked hole", "asked failed"],
    bootstrapping: ["bootstrapped", "bootstrapFailed"],
    claiming: ["fenced", "steppedDown"],
    waiting: ["tick"],
  };
  let claims = 0;
  for (let seed = 1; seed <= 1_000; seed++) {
    const random = seededRandom(seed).fraction;
    const candidate = random() < 0.7;
    const settings = { ...SETTINGS, candidate };
    let nowMs = 5;
    let state = beginFollow(7, random() < 0.5, random() * 40_000, settings, { nowMs, wallMs: 0, fraction: 0 });
    for (let count = 0; count < 60; count++) {
      const choices = answers[state.activity] as readonly string[];
      const answer = choices[Math.floor(random() * choices.length)] as string;
      const isOutside = random() < 0.2;
      const [name, rest] = answer.split(" ");
      const text = isOutside
        ? `wanted ${state.epoch + Math.floor(random() * 3)} ${nowMs + 500}`
        : /applied|bootstrapped|fenced|steppedDown/.test(answer)
          ? `${name} ${state.epoch + 1} ${rest ?? ""}`
          : answer;
      nowMs += random() < 0.9 ? random() * 1_200 : random() * 50_000;
      const before = state;
      const {
        state: next,
        actions,
        wakeAtMs,
      } = stepFollow(state, eventOf(text), settings, { nowMs, wallMs: nowMs, fraction: random() });
      expect(actions.length).toBeLessThanOrEqual(1);
      const isBusy = next.activity !== "waiting";
      const hadNothing = before.activity === "waiting" || (!isOutside && text !== "tick");
      expect(actions.length === 1, `${before.activity} ${text}`).toBe(isBusy && hadNothing);
      if (!isBusy) expect(wakeAtMs).toBeLessThan(nowMs + 60_000);
      for (const action of actions) {
        if (action.type === "fetch") expect(action.epoch).toBe(next.epoch + 1);
        if (action.type === "claim") {
          claims++;
          expect(candidate).toBe(true);
          expect(nowMs).toBeGreaterThanOrEqual(next.noClaimBeforeMs);
        }
      }
      state = next;
    }
  }
  expect(claims).toBeGreaterThan(150);
});
