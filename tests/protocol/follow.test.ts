import { describe, expect, test } from "vitest";
import { stepFollow } from "../../src/protocol/follow.ts";
import {
  beginFollow,
  type FollowAction,
  type FollowEvent,
  type FollowSettings,
  type FollowState,
  lagMs,
} from "../../src/protocol/follow-state.ts";
import { type Instant, instantOf } from "../../src/protocol/moment.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";

const SETTINGS: FollowSettings = {
  candidate: true,
  pollIntervalMs: 1_000,
  eagerPollIntervalMs: 50,
  heartbeatIntervalMs: 5_000,
  sessionTimeoutMs: 20_000,
  fastFailover: true,
  retryBaseMs: 100,
  retryMaxMs: 1_000,
};

/** Of this moment, if that matters. */
function eventOf(text: string, now: Instant): FollowEvent {
  const [type = "", a = "", b = ""] = text.split(" ");
  switch (type) {
    case "missing":
      return { type: "fetchAnswered", found: "missing" };
    case "late":
      return { type: "fetchAnswered", found: "late" };
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
      return { type: "bootstrapped", epoch: Number(a), hasLeader: true, readAt: now };
    case "pushed":
      return { type: "offered", from: b || "leader", epoch: Number(a), isHere: true };
    case "told":
      return { type: "offered", from: b || "leader", epoch: Number(a), isHere: false };
    case "changed":
      return { type: "leaderChanged", leader: a };
    case "wanted":
      return { type: "wanted", epoch: Number(a), untilMs: Number(b) };
    case "fenced":
    case "steppedDown":
      return {
        type: "leadershipEnded",
        epoch: Number(a),
        hasLeader: type === "fenced",
        steppedDown: type !== "fenced",
        provenAt: { ms: 0, wallMs: 0 },
        wasLeading: b !== "lost",
      };
    default:
      return { type: type as "tick" };
  }
}

function actionText(action: FollowAction): string {
  if (action.type === "fetch") return `fetch ${action.epoch}`;
  if (action.type === "claim") return `claim ${action.reason}`;
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
    const began = { nowMs: 0, wallMs: 0, fraction: 0 };
    this.state = beginFollow(7, true, newestAgeMs, instantOf(began), this.settings, began);
  }

  step(nowMs: number, text: string): string {
    const moment = { nowMs, wallMs: nowMs + this.wallOffsetMs, fraction: this.fraction };
    const { state, actions, wakeAtMs } = stepFollow(
      this.state,
      eventOf(text, instantOf(moment)),
      this.settings,
      moment,
    );
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

describe("after more than half an hour", () => {
  const LATE = 31 * 60_000;

  test("P2: a listing without a gap is not believed: the next epoch may have been trimmed and created again", () => {
    new Scenario().play(`
      0: tick → fetch 8
      10: missing → wake 1010
      ${LATE}: tick → ask after 7
      ${LATE + 10}: asked next → bootstrap`);
  });

  test("P2: what a request brings that was under way all the time is not believed either", () => {
    new Scenario().play(`
      0: tick → fetch 8
      ${LATE}: late → ask after 7
      ${LATE + 10}: asked hole → bootstrap`);
  });

  test("that the store was asked in between, and had nothing, is as good as an epoch", () => {
    const scenario = new Scenario({ candidate: false }).play(`
      0: tick → fetch 8
      10: missing → wake 1010`);
    for (let nowMs = 25_000; nowMs <= LATE; nowMs += 25_000) {
      expect(scenario.step(nowMs, "tick")).toBe("ask after 7");
      scenario.step(nowMs, "asked none");
    }
    scenario.play(`
      ${LATE + 25_000}: tick → ask after 7
      ${LATE + 25_010}: asked next → fetch 8`);
  });
});

test("P1: a listing that names later epochs proves no claim of one of them: they may be trimmed at this moment", () => {
  new Scenario().play(`
    0: tick → fetch 8
    10: applied 8 vacant → fetch 9
    20: missing → ask after 8
    30: asked next → fetch 9
    40: missing → ask after 8`);
});

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

  test("an epoch that stays damaged: another way is looked for, more and more rarely", () => {
    new Scenario().play(`
      0: tick → fetch 8
      10: damaged → wake 60
      60: tick → fetch 8
      70: damaged → wake 170
      170: tick → fetch 8
      180: damaged → wake 380
      380: tick → fetch 8
      390: damaged → bootstrap
      400: bootstrapFailed → wake 800`);
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
      60: tick → ask after 8
      65: asked none → claim vacant
      66: tick → -
      70: fenced 9 lost → fetch 10`);
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
      30020: asked none → claim silent`);
    new Scenario({ pollIntervalMs: 20_000 }).play(`
      0: tick → fetch 8
      0: missing → wake 20000
      20000: tick → fetch 8
      20001: missing → wake 40001`);
  });

  test("rule 3: the newest epoch was old at join: asks at once, then claims; 2 s are allowed for the store's clock", () => {
    new Scenario({ newestAgeMs: 22_001 }).play(`
      0: tick → ask after 7
      10: asked none → claim stale`);
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
      4100: tick → ask after 9
      4110: asked none → claim vacant`);
  });
});

describe("the leader's stream", () => {
  const streaming = (settings: Partial<FollowSettings> = {}): Scenario =>
    new Scenario(settings).play(`
      0: tick → fetch 8
      5: missing → wake 1005
      6: told 7 → wake 10006`);

  test("spares the polls for as long as it says something every two heartbeats", () => {
    streaming().play(`
      5000: pushed 8 → fetch 8
      5000: applied 8 → wake 15000
      9000: told 8 → wake 19000
      19000: tick → fetch 9
      19001: missing → wake 20001
      20001: tick → fetch 9
      20002: missing → wake 21002
      20500: told 8 → wake 25001`);
  });

  test("that tells of nothing new for a session time-out keeps nobody from asking the store, and from claiming", () => {
    streaming().play(`
      5000: pushed 8 → fetch 8
      5000: applied 8 → wake 15000
      14000: told 8 → wake 24000
      23000: told 8 → wake 25001
      24999: told 8 → wake 25001
      25001: tick → ask after 8
      25002: told 8 → -
      25010: asked none → claim silent`);
    streaming({ candidate: false }).play(`
      5000: pushed 8 → fetch 8
      5000: applied 8 → wake 15000
      24999: told 8 → wake 25001
      25001: tick → ask after 8
      25010: asked failed → wake 25060
      25030: told 8 → wake 25060
      25060: tick → ask after 8
      25070: asked none → wake 35030`);
  });

  test("does not put off who waits for an epoch", () => {
    streaming().play(`
      100: wanted 8 5000 → wake 1100
      500: told 7 → wake 1100
      1099: told 7 → wake 1100
      1100: tick → fetch 8`);
  });

  test("brings epochs in order, once each, whatever the order and number of their coming", () => {
    streaming().play(`
      100: pushed 10 → fetch 8
      101: pushed 9 → -
      102: pushed 8 → -
      103: applied 8 → fetch 9
      104: applied 9 → fetch 10
      105: pushed 9 → -
      106: applied 10 → wake 10105
      107: pushed 10 → wake 10107`);
  });

  test("that ends is made up for by the store at once", () => {
    streaming().play(`
      5000: streamClosed → fetch 8
      5010: applied 8 → fetch 9
      5020: missing → wake 6020
      6020: tick → fetch 9
      6030: missing → wake 7030
      6500: told 8 → wake 16500`);
  });

  test("that lacks an epoch sends to the store for it, no more often than failures allow", () => {
    streaming().play(`
      100: told 9 → fetch 8
      110: applied 8 → fetch 9
      120: fetchFailed → wake 170
      130: told 10 → wake 170
      140: pushed 9 → fetch 9
      141: applied 9 → fetch 10`);
  });

  test("is enough for who waits: the store is asked once a poll interval", () => {
    streaming().play(`
      100: wanted 9 5000 → wake 1100
      1100: tick → fetch 8
      1110: missing → wake 2110
      1200: pushed 8 → fetch 8
      1201: applied 8 → wake 2201
      1300: pushed 9 → fetch 9
      1301: applied 9 → wake 11300`);
  });

  test("says how far behind the node may be; without it the last look at the store does", () => {
    const scenario = streaming();
    const lagAt = (nowMs: number) => lagMs(scenario.state, scenario.settings, nowMs);
    expect([lagAt(6), lagAt(10_005), lagAt(10_006)]).toEqual([0, 0, 10_000]);
    scenario.step(100, "told 9");
    expect(lagAt(150)).toBe(144);
    scenario.step(160, "applied 8");
    scenario.step(170, "applied 9");
    expect(lagAt(180)).toBe(0);
    scenario.step(200, "streamClosed");
    scenario.step(210, "missing");
    expect(lagAt(700)).toBe(490);
  });

  test("of another node counts for the leader that it turns out to be, and for no other", () => {
    streaming().play(`
      100: told 8 other → fetch 8
      110: changed other → -
      111: applied 8 → wake 10100`);
    streaming().play(`
      100: told 8 other → fetch 8
      110: changed third → -
      111: applied 8 → fetch 9`);
  });
});

describe("rule 4: the leader's address refuses", () => {
  const cut = (settings: Partial<FollowSettings> = {}): Scenario =>
    new Scenario(settings).play(`
      0: tick → fetch 8
      5: missing → wake 1005
      6: told 7 → wake 10006
      5000: streamClosed → fetch 8`);

  test("twice, 100 ms apart, and nothing came meanwhile: asks, then claims", () => {
    cut().play(`
      5001: leaderRefused → -
      5003: missing → ask after 7
      5005: asked none → wake 6005
      5110: leaderRefused → claim refused`);
  });

  test("too soon the second time, and nothing happens", () => {
    cut().play(`
      5001: leaderRefused → -
      5003: missing → ask after 7
      5005: asked none → wake 6005
      5100: leaderRefused → wake 6005
      5101: leaderRefused → claim refused`);
  });

  test("the last epoch of who was killed is applied first, and is no sign of life", () => {
    cut().play(`
      5001: leaderRefused → -
      5003: applied 8 → ask after 8
      5005: asked none → wake 6005
      5110: leaderRefused → claim refused`);
  });

  test("an epoch that comes long after a refusal is one", () => {
    cut().play(`
      5001: leaderRefused → -
      5003: missing → ask after 7
      5005: asked none → wake 6005
      5105: tick → wake 6005
      6005: tick → fetch 8
      6010: applied 8 → fetch 9
      6015: missing → wake 7015
      6020: leaderRefused → ask after 8
      6025: asked none → wake 7025
      6030: leaderRefused → wake 7025`);
  });

  test("nothing is claimed while the store does not answer", () => {
    cut().play(`
      5001: leaderRefused → -
      5003: fetchFailed → wake 5053
      5053: tick → ask after 7
      5060: asked failed → wake 5160
      5110: leaderRefused → wake 5160
      5160: tick → ask after 7
      5170: asked none → claim refused`);
  });

  test("P10: a claim that is due does not make a store that fails be asked more often", () => {
    cut().play(`
      5001: leaderRefused → -
      5003: missing → ask after 7
      5005: asked failed → wake 5055
      5055: tick → ask after 7
      5060: asked failed → wake 5160
      5110: leaderRefused → wake 5160
      5160: tick → ask after 7
      5161: asked failed → wake 5361
      5361: tick → ask after 7
      5370: asked none → claim refused`);
    new Scenario().play(`
      0: tick → fetch 8
      5: applied 8 vacant → fetch 9
      10: missing → ask after 8
      11: asked failed → wake 61
      61: tick → ask after 8
      62: asked failed → wake 162
      162: tick → ask after 8
      170: asked none → claim vacant`);
  });

  test("a stream that is back ends it", () => {
    cut().play(`
      5001: leaderRefused → -
      5003: missing → ask after 7
      5005: asked none → wake 6005
      5050: told 7 → wake 15050
      5110: streamClosed → fetch 8
      5112: missing → wake 6112
      5115: leaderRefused → ask after 7`);
  });

  test("is not for followers, nor where it is switched off", () => {
    for (const settings of [{ candidate: false }, { fastFailover: false }]) {
      cut(settings).play(`
        5001: leaderRefused → -
        5003: missing → wake 6003
        5110: leaderRefused → wake 6003`);
    }
  });

  test("a session time-out lies between two uses that changed who leads; a lost claim changed nothing", () => {
    const used = () =>
      cut().play(`
        5001: leaderRefused → -
        5003: missing → ask after 7
        5005: asked none → wake 6005
        5110: leaderRefused → claim refused`);
    used().play(`
      5120: steppedDown 9 → fetch 10
      5125: applied 10 → fetch 11
      5130: missing → wake 6130
      5200: leaderRefused → wake 6130
      5400: leaderRefused → wake 6130`);
    used().play(`
      5120: fenced 8 lost → fetch 9
      5125: missing → wake 6125
      5200: leaderRefused → ask after 8
      5210: asked none → wake 6210
      5310: leaderRefused → claim refused`);
  });

  test("who stepped down a moment ago does not let others first once one has led", () => {
    new Scenario().play(`
      0: steppedDown 9 → fetch 10
      10: applied 10 → fetch 11
      12: missing → wake 1012
      20: leaderRefused → ask after 10
      25: asked none → wake 1025
      125: leaderRefused → claim refused`);
  });

  test("who was fenced does not use it within a session time-out", () => {
    new Scenario({ pollIntervalMs: 9000 }).play(`
      0: fenced 9 → fetch 10
      5: missing → wake 9005
      1000: leaderRefused → wake 9005
      2000: leaderRefused → wake 9005
      9005: tick → fetch 10
      9010: applied 10 → fetch 11
      9015: missing → wake 18015
      18015: tick → fetch 11
      18020: applied 11 → fetch 12
      18025: missing → wake 27025
      20001: leaderRefused → ask after 11
      20010: asked none → wake 29010
      20110: leaderRefused → claim refused`);
  });
});

describe("a hand-over", () => {
  const named = (settings: Partial<FollowSettings> = {}): Scenario =>
    new Scenario(settings).play(`
      0: tick → fetch 8
      5: missing → wake 1005
      6: told 7 → wake 10006
      100: accepting → wake 10006
      110: handover → wake 10006`);

  test("to this node: it claims when the last epoch comes, and need not ask the store", () => {
    const scenario = named().play(`
      120: pushed 8 → fetch 8
      120: applied 8 vacant → claim vacant`);
    expect(scenario.state.provenAt).toEqual({ ms: 100, wallMs: 100 });
  });

  test("whose last epoch takes longer than a session time-out: the store is asked after all", () => {
    new Scenario().play(`
      0: tick → fetch 8
      5: missing → wake 1005
      6: told 7 → wake 10006
      100: accepting → wake 10006
      19000: handover → fetch 8
      19001: missing → wake 20001
      19500: pushed 8 → fetch 8
      19501: applied 8 → wake 29500
      20109: pushed 9 → fetch 9
      20110: applied 9 vacant → ask after 9
      20120: asked none → claim vacant`);
  });

  test("that the leader did not hear us accept is none", () => {
    new Scenario().play(`
      0: tick → fetch 8
      5: missing → wake 1005
      6: told 7 → wake 10006
      100: accepting → wake 10006
      120: pushed 8 → fetch 8
      121: applied 8 vacant → fetch 9`);
  });

  test("that does not happen changes nothing; another leader's step-down is not what was agreed", () => {
    named().play(`
      120: pushed 8 → fetch 8
      121: applied 8 → wake 10120
      130: changed other → wake 10120
      131: pushed 9 other → fetch 9
      132: applied 9 vacant → fetch 10`);
    named().play(`
      120: told 8 other → fetch 8
      121: changed other → -
      121: applied 8 → wake 10120
      131: pushed 9 other → fetch 9
      132: applied 9 vacant → fetch 10`);
  });

  test("to who stepped down itself a moment ago does not wait", () => {
    new Scenario().play(`
      0: steppedDown 9 → fetch 10
      10: applied 10 → fetch 11
      12: missing → wake 1012
      20: told 10 → wake 10020
      100: accepting → wake 10020
      110: handover → wake 10020
      120: pushed 11 → fetch 11
      121: applied 11 vacant → claim vacant`);
  });

  test("to another node: this one looks in the store, and waits a little", () => {
    const scenario = new Scenario();
    scenario.fraction = 0.5;
    scenario.play(`
      0: tick → fetch 8
      5: missing → wake 1005
      6: told 7 → wake 10006
      120: pushed 8 → fetch 8
      121: applied 8 vacant → fetch 9
      130: missing → wake 180
      150: told 9 other → fetch 9
      151: changed other → -
      151: applied 9 → wake 10150`);
  });

  test("to a follower is none", () => {
    named({ candidate: false }).play(`
      120: pushed 8 → fetch 8
      121: applied 8 vacant → fetch 9
      130: missing → wake 1130`);
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
    const source = new SeededRandom(seed);
    const random = () => source.fraction();
    const candidate = random() < 0.7;
    const settings = { ...SETTINGS, candidate };
    let nowMs = 5;
    const began = { nowMs, wallMs: nowMs, fraction: 0 };
    let state = beginFollow(7, random() < 0.5, random() * 40_000, instantOf(began), settings, began);
    for (let count = 0; count < 60; count++) {
      const choices = answers[state.activity] as readonly string[];
      const answer = choices[Math.floor(random() * choices.length)] as string;
      const isOutside = random() < 0.4;
      const [name, rest] = answer.split(" ");
      const near = state.epoch + Math.floor(random() * 3);
      const outside = [
        `wanted ${near} ${nowMs + 500}`,
        `told ${near}`,
        `pushed ${near} other`,
        "streamClosed",
        "leaderRefused",
        "leaderRefused",
        "accepting",
        "handover",
        "changed other",
      ];
      const text = isOutside
        ? (outside[Math.floor(random() * outside.length)] as string)
        : /applied|bootstrapped|fenced|steppedDown/.test(answer)
          ? `${name} ${state.epoch + 1} ${rest ?? ""}`
          : answer;
      nowMs += random() < 0.9 ? random() * 1_200 : random() * 50_000;
      const before = state;
      const moment = { nowMs, wallMs: nowMs, fraction: random() };
      const { state: next, actions, wakeAtMs } = stepFollow(state, eventOf(text, instantOf(moment)), settings, moment);
      expect(actions.length).toBeLessThanOrEqual(1);
      const isBusy = next.activity !== "waiting";
      const hadNothing = before.activity === "waiting" || (!isOutside && text !== "tick");
      expect(actions.length === 1, `${before.activity} ${text}`).toBe(isBusy && hadNothing);
      if (!isOutside && /fail|damaged/i.test(text))
        expect(
          actions.map(({ type }) => type),
          "a failure is followed by a pause",
        ).not.toContain("ask");
      if (!isBusy) expect(wakeAtMs).toBeLessThan(nowMs + 60_000);
      for (const action of actions) {
        if (action.type === "fetch") expect(action.epoch).toBe(next.epoch + 1);
        if (action.type === "claim") {
          claims++;
          expect(candidate).toBe(true);
          // Whoever refuses has taken over since.
          if (action.reason !== "refused") expect(nowMs).toBeGreaterThanOrEqual(next.noClaimBeforeMs);
        }
      }
      state = next;
    }
  }
  expect(claims).toBeGreaterThan(150);
});
