/** What goes wrong with processes, and with the network between them. */
import type { Fault, FaultContext } from "./fault.ts";
import type { Direction } from "./link.ts";
import type { Member } from "./member-process.ts";

const READY_MAX_MS = 4000;

type Choose = (context: FaultContext) => Member | undefined;

const anyone: Choose = ({ cluster, random }) => random.pick(cluster.members);
const leader: Choose = ({ cluster }) => cluster.leader();

async function untilReady(context: FaultContext, members: readonly Member[]): Promise<void> {
  await Promise.race([Promise.all(members.map((member) => member.ready)), context.pause(READY_MAX_MS, READY_MAX_MS)]);
}

function kill(name: string, choose: Choose): Fault {
  return {
    name,
    lane: "process",
    run: async (context) => {
      const member = choose(context);
      if (member === undefined) return undefined;
      await member.kill();
      await context.pause(0, 1000);
      member.start();
      await untilReady(context, [member]);
      return member.name;
    },
  };
}

const rollingRestart: Fault = {
  name: "rolling restart",
  lane: "restart",
  run: async (context) => {
    for (const member of context.cluster.members) {
      if (context.signal.aborted) break;
      await member.leave();
      member.start();
      await untilReady(context, [member]);
    }
    return "everybody";
  },
};

const restartOfEverybody: Fault = {
  name: "restart of everybody",
  lane: "restart",
  run: async (context) => {
    const { members } = context.cluster;
    await Promise.all(members.map((member) => member.kill()));
    for (const member of members) member.start();
    await untilReady(context, members);
    return "everybody";
  },
};

const stepDown: Fault = {
  name: "step-down",
  lane: "restart",
  run: async (context) => {
    const member = leader(context);
    await member?.stepDown().catch(() => {});
    await context.pause(200, 600);
    return member?.name;
  },
};

/** For so many session time-outs. */
function stop(name: string, choose: Choose, sessionsMin: number, sessionsMax: number): Fault {
  return {
    name,
    lane: "pause",
    run: async (context) => {
      const member = choose(context);
      const { sessionTimeoutMs, pause } = context;
      const resume = member?.pause();
      if (resume === undefined) return undefined;
      try {
        await pause(sessionsMin * sessionTimeoutMs, sessionsMax * sessionTimeoutMs);
      } finally {
        resume();
      }
      return member?.name;
    },
  };
}

function network(
  name: string,
  choose: Choose,
  harm: (member: Member, context: FaultContext) => Promise<unknown>,
): Fault {
  return {
    name,
    lane: "network",
    run: async (context) => {
      const member = choose(context);
      if (member === undefined) return undefined;
      try {
        await harm(member, context);
      } finally {
        await member.link.heal();
      }
      return member.name;
    },
  };
}

function cut(name: string, choose: Choose, ...directions: Direction[]): Fault {
  return network(name, choose, ({ link }, { pause, sessionTimeoutMs }) => {
    link.cut(...directions);
    return pause(sessionTimeoutMs * 0.5, sessionTimeoutMs * 1.5);
  });
}

const slow = network("connections slow", anyone, ({ link }, { random, pause }) => {
  link.delayMs = random.between(30, 430);
  return pause(1000, 2500);
});

const resets = network("connections reset", anyone, async ({ link }, { random, pause }) => {
  for (let count = random.int(1, 4); count > 0; count--) {
    link.reset();
    await pause(50, 400);
  }
});

const refused = network("connections refused", anyone, async ({ link }, { pause }) => {
  await link.refuse();
  await pause(300, 2500);
});

const refusedLeader = network("leader's connections refused", leader, async ({ link }, { pause }) => {
  await link.refuse();
  await pause(300, 2500);
});

export const MEMBER_FAULTS: readonly Fault[] = [
  kill("SIGKILL", anyone),
  kill("SIGKILL of the leader", leader),
  stepDown,
  rollingRestart,
  restartOfEverybody,
  stop("SIGSTOP", anyone, 0.1, 0.6),
  stop("SIGSTOP of the leader", leader, 0.1, 0.6),
  stop("SIGSTOP for long", anyone, 1.1, 2),
  stop("SIGSTOP of the leader for long", leader, 1.1, 2),
  cut("connections cut", anyone, "in", "out"),
  cut("leader's connections cut", leader, "in", "out"),
  cut("connections cut one way (in)", anyone, "in"),
  cut("connections cut one way (out)", leader, "out"),
  slow,
  resets,
  refused,
  refusedLeader,
];
