/*
 * The commit, election, fencing and retention protocol, for exhaustive checking with spin. docs/protocol.md explains the
 * names; scripts/model.ts runs it.
 *
 * Three nodes, all of them candidates, and one bucket. Node 0 leads at the start, at epoch 0. A step of a node is one
 * request as the store carries it out, and what the node makes of the answer; the two are apart only where it matters
 * that time passes between them. Whoever is paused, slow or cut off is simply not scheduled, for as long as one likes.
 *
 * Time is abstract: AGES PASS, at any moment, and that is more than half an hour, half of the shortest retention. Then
 *   - every epoch that exists may be trimmed from now on, if it is before an old snapshot;
 *   - what the nodes measured from is long ago, for each of them, by at least one of its two clocks: `proven`,
 *     `progress`, `recent`;
 *   - a PUT without its client has landed or will never: the store bounds that to 15 minutes (not with LATE_FOR_EVER).
 * The session time-out is much shorter and decides only when something is tried, so it is left out: what a node may do
 * after one, it may do here at any time.
 *
 * What is not here: snapshots and packs (who reads everything anew gets the newest epoch of the history, since what
 * that starts from is never trimmed), damage, and what an epoch holds besides who wrote it and on what it builds.
 *
 * CRASHES, LATE, EPOCHS, HANDOVER, LIVENESS and LATE_FOR_EVER are the bounds and kinds of a check. Every other macro
 * takes one measure away; VARIANTS in scripts/model.ts says which, and which promise that breaks.
 */
#ifndef EPOCHS
#define EPOCHS 3 /* numbers that may be claimed and written, after epoch 0 */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of all nodes together */
#endif

#ifndef LATE
#define LATE 1 /* whether a node may give up on a PUT that is still on its way; one that crashes always may */
#endif

#define NODES 3
#define ABSENT 0
#define FIRST 255 /* the bytes of epoch 0 */
#define NOBODY 255

/* The bytes of a WAL, which are salted: who wrote it, in which life. Nobody writes two for one number in one life. */
#define OURS (1 + me * 4 + life)
#define WRITER(bytes) (((bytes) - 1) / 4)

/* Sets of nodes, or of epochs, as bits. */
#define HAS(set, n) (((set) >> (n)) & 1)
#define ADD(set, n) set = set | (1 << (n))
#define DROP(set, n) set = set & ~(1 << (n))

/* ---- what may happen, by the measures that are in force ---- */
#ifdef CLAIM_UNASKED
#define MAY_CLAIM true
#else
#define MAY_CLAIM HAS(proven, me)
#endif
/* Everything before an old snapshot, which the epoch after it proves. */
#ifdef TRIM_NEWEST
#define MAY_TRIM(e) (stored[e] != ABSENT && e <= old)
#else
#ifdef TRIM_YOUNG
#define MAY_TRIM(e) (stored[e] != ABSENT && e + 2 <= newest)
#else
#define MAY_TRIM(e) (!CALM && stored[e] != ABSENT && e + 1 <= old && e + 2 <= newest)
#endif
#endif
#ifdef LATE_FOR_EVER
#define MAY_AGE !CALM
#else
#define MAY_AGE (!CALM && lateEpoch == 0)
#endif
/* For liveness: from some moment on nothing fails any more, and nobody asks what it knows. */
#ifdef LIVENESS
#define CALM calm
#define MAY_ASK (!calm || !HAS(progress, me) || (!HAS(proven, me) && applied < EPOCHS && stored[applied + 1] == ABSENT))
#else
#define CALM false
#define MAY_ASK true
#endif

/* The leader's stream may bring it: acknowledged by a leader that was at the same state. */
#define STREAMED(e) (acknowledged[e] != ABSENT && history[(e) - 1] == state)

/* ---- the bucket ---- */
byte stored[EPOCHS + 1];  /* the WAL at each number */
byte builtOn[EPOCHS + 1]; /* its chain row: the bytes of the epoch before it */
byte newest;              /* the newest epoch of the history */
byte old;                 /* every epoch up to here is old enough for the retention */
/* A PUT whose client gave up, or died, and that is still on its way. */
byte lateEpoch, lateBytes, lateBuiltOn;
bit lateIsLast;

/* ---- the nodes; the rest of each is in its process ---- */
/* `fetching` and `restored` are used only where a variant needs time to pass there. */
mtype = { follows, fetching, restored, leads, putting, created, readingBack, auditing, listing, auditingNext };
/* Sets of nodes. */
byte leading;   /* the claim is acknowledged */
byte isLast;    /* the epoch under way is the last of this leadership */
byte proven;    /* provenAt is not long ago */
byte progress;  /* progressAt is not long ago */
byte recent;    /* the request or the attempt under way did not begin long ago */
/* Hand-over: one at a time. */
mtype = { noHandover, offered, accepted, handedOver };
mtype handover = noHandover;
byte from, to;
byte successor = NOBODY; /* who was told to lead next */
bit acceptedRecently;    /* acceptedAt is not long ago */
byte vacant;             /* epochs whose `leader` row is absent */

byte crashes = CRASHES; /* still to come */
#ifdef LIVENESS
bit calm;
#endif

/* ---- what is promised: nobody in the protocol reads this ---- */
byte history[EPOCHS + 1];      /* the WAL that counts, for ever */
byte acknowledged[EPOCHS + 1]; /* whose write was acknowledged */
byte reportedEpoch, reportedBytes; /* reported as not written, while nothing stands in its place */
mtype = { kept, oneHistory, durable, oneLeader, superseded, notWritten, onlyHistoryIsRead, liveHistoryIsDeleted };
mtype promise = kept;

/* With ONLY, the other promises may be broken on the way. */
#ifdef ONLY
#define MATTERS(name) (name == ONLY)
#else
#define MATTERS(name) true
#endif

inline expect(ok, name) {
  if
  :: (ok) || !MATTERS(name)
  :: else ->
     promise = name;
     printf("BROKEN: %e\n", promise);
     assert(promise == kept)
  fi
}

inline acknowledge(e) {
  printf("node %d: acknowledges epoch %d\n", me, e);
  expect(history[e] == OURS, durable);
  expect(acknowledged[e] == ABSENT || acknowledged[e] == OURS, oneLeader);
  /* Everything between its claim and this epoch is its own. */
  expect(history[(e) - 1] == state && (!HAS(leading, me) || WRITER(state) == me), superseded);
  acknowledged[e] = OURS;
}

inline advance(bytes) {
  applied++;
  state = bytes
}

inline reportNotWritten(e) {
  printf("node %d: reports its epoch %d as not written\n", me, e);
  expect(history[e] != OURS, notWritten);
  if
  :: history[e] == ABSENT -> reportedEpoch = e; reportedBytes = OURS
  :: else
  fi
}

/* PUT if absent, at a number where there is nothing. */
inline create(e, bytes, before, last) {
  stored[e] = bytes;
  builtOn[e] = before;
  if
  :: last -> ADD(vacant, e)
  :: else -> DROP(vacant, e)
  fi;
  if
  :: e == newest + 1 ->
     expect(before == history[newest], oneHistory);
     expect(reportedEpoch != e || reportedBytes != bytes, notWritten);
     history[e] = bytes;
     newest = e
  :: else -> printf("        (history has been here before)\n")
  fi
}

/* ---- what several steps have in common ---- */
inline seal() {
  ADD(recent, me);
  phase = putting
}

inline follow() {
  phase = follows;
  DROP(leading, me);
  DROP(isLast, me);
  DROP(recent, me)
}

inline endFenced() {
  follow();
#ifdef FENCED_IS_PROGRESS
  ADD(progress, me);
#else
  /* Nobody else had gone on when it was last proven; nothing newer is known. */
  if
  :: HAS(proven, me) -> ADD(progress, me)
  :: else -> DROP(progress, me)
  fi;
#endif
  DROP(proven, me)
}

/* Other bytes than ours are there, or history went on without ours. */
inline notOurs(lateIsUnknown) {
  if
  :: lateIsUnknown && !HAS(recent, me) ->
     printf("node %d: cannot tell what became of its epoch %d\n", me, applied + 1)
  :: else -> reportNotWritten(applied + 1)
  fi
}

/* The audit says that history went on, and not from ours. */
inline withoutUs() {
  if
  /* So soon nothing is trimmed: objects are missing, and nobody knows what that means. */
  :: HAS(proven, me) -> printf("node %d: cannot tell what became of its epoch %d\n", me, applied + 1)
  :: else ->
#ifdef LATE_IS_UNSEEN
     notOurs(false);
#else
     notOurs(true);
#endif
     orphan = applied + 1;
     DROP(proven, me)
  fi;
  endFenced()
}

/* Our object is there, and part of history as far as we know. */
inline settle() {
  acknowledge(applied + 1);
  advance(OURS);
  ADD(leading, me);
  if
  :: HAS(recent, me) -> ADD(proven, me)
  :: else -> DROP(proven, me)
  fi;
  if
  :: HAS(isLast, me) -> printf("node %d: steps down\n", me); endFenced()
  :: else -> phase = leads; DROP(recent, me)
  fi
}

/* From what the retention keeps. That its end is shown later is the same as that an age passes after it. */
inline readAnew() {
  applied = newest;
  state = history[newest];
  printf("node %d: reads everything anew, up to epoch %d\n", me, newest);
  DROP(proven, me);
  follow();
#ifdef LATE_RESTORE_IS_PROGRESS
  phase = restored
#else
  ADD(progress, me)
#endif
}

/* The last epoch of the leader that this node accepted to follow was begun after that. */
inline heardLast(e) {
  if
  :: HAS(vacant, e) && successor == me ->
     if
     :: acceptedRecently -> ADD(proven, me)
     :: else
     fi;
     acceptedRecently = false;
     successor = NOBODY
  :: else
  fi
}

/* Whether there is a WAL after `e`, and whether there is none missing before the last of them. */
inline list(e, some, gap) {
  some = false;
  gap = false;
  i = EPOCHS;
  do
  :: i > e ->
     if
     :: stored[i] != ABSENT -> some = true
     :: stored[i] == ABSENT && some -> gap = true
     :: else
     fi;
     i--
  :: else -> break
  od;
  i = 0
}

/*
 * A request that is lost before it takes effect is not here: what its node does then it may do without it.
 */
proctype Node(byte me) {
#ifdef LATE_RESTORE_IS_PROGRESS
  mtype phase = (me == 0 -> leads : (me == 1 -> restored : follows)); /* node 1 has just read epoch 0 */
#else
  mtype phase = (me == 0 -> leads : follows);
#endif
  byte applied;       /* the epoch that readers see … */
  byte state = FIRST; /* … and which one it is: the bytes of its WAL */
  byte life;
  byte orphan;        /* the number to delete, 0: none */
  byte i;
  bit some, gap;
  byte began;         /* what an audit's listing found at its beginning … */
  byte sure, may;     /* … what is in it for certain, and what may be */
  bit beyond;         /* it shows more than the next epoch */

end:
  do
  /* ---- following ---- */
#ifdef LATE_ANSWER_IS_PROGRESS
  :: atomic { phase == follows && HAS(progress, me) && applied < EPOCHS -> phase = fetching }
  :: atomic { phase == fetching && stored[applied + 1] == ABSENT -> phase = follows }
  :: atomic { phase == fetching && stored[applied + 1] != ABSENT ->
#else
  /* That no age has passed is looked at when the answer is there. */
  :: atomic { phase == follows && HAS(progress, me) && applied < EPOCHS && stored[applied + 1] != ABSENT ->
#endif
       i = applied + 1;
       if
       :: builtOn[i] == state ->
          printf("node %d: applies epoch %d by node %d\n", me, i, WRITER(stored[i]));
          advance(stored[i]);
          expect(state == history[i], onlyHistoryIsRead);
          phase = follows;
          ADD(progress, me);
          heardLast(i)
       :: else ->
          printf("node %d: epoch %d builds on another state\n", me, i);
          readAnew()
       fi;
       i = 0
     }
  /* From the leader's stream: acknowledged, but maybe long ago. */
  :: atomic { phase == follows && HAS(progress, me) && applied < EPOCHS && STREAMED(applied + 1) ->
       i = applied + 1;
       printf("node %d: applies epoch %d from the stream of node %d\n", me, i, WRITER(history[i]));
       advance(history[i]);
       heardLast(i);
       i = 0
     }
  /* Asks for later epochs. */
  :: atomic { phase == follows && MAY_ASK ->
       list(applied, some, gap);
       if
       :: !some ->
          printf("node %d: asks, nothing is after epoch %d\n", me, applied);
          ADD(proven, me);
          ADD(progress, me)
       :: some && !gap ->
          printf("node %d: asks, epoch %d follows without a gap\n", me, applied + 1);
#ifdef NEXT_IS_TRUSTED
          ADD(progress, me)
#else
#ifdef NEXT_IS_PROOF
          ADD(proven, me)
#else
          if
          :: HAS(progress, me)
          /* So long ago that the number may have been trimmed and created again. */
          :: else -> readAnew()
          fi
#endif
#endif
       :: some && gap ->
          printf("node %d: asks, there is a gap after epoch %d\n", me, applied);
          readAnew()
       fi;
       some = 0; gap = 0
     }
#ifdef LATE_RESTORE_IS_PROGRESS
  :: atomic { phase == restored -> ADD(progress, me); follow() }
#endif
  /* Claims. Which rule says so, and when, is left open. */
  :: atomic { phase == follows && applied < EPOCHS && MAY_CLAIM ->
#ifdef CLAIM_UNASKED
       ADD(proven, me);
#endif
       printf("node %d: claims epoch %d\n", me, applied + 1);
       seal()
     }
  /* ---- leading ---- */
  :: atomic { phase == leads && applied < EPOCHS && !(handover != noHandover && from == me) ->
       printf("node %d: seals epoch %d\n", me, applied + 1);
       seal();
#ifdef ACKNOWLEDGE_BEFORE_PUT
       acknowledge(applied + 1);
#endif
     }
  :: atomic { phase == putting ->
       i = applied + 1;
       if
       :: stored[i] == ABSENT ->
          printf("node %d: creates epoch %d\n", me, i);
          create(i, OURS, state, HAS(isLast, me));
          if
          :: phase = created
          :: !CALM -> printf("node %d: does not get the answer\n", me);
#ifdef TIMEOUT_IS_NOT_WRITTEN
             reportNotWritten(i);
             endFenced()
#else
             if
             :: phase = putting
             :: phase = readingBack
             fi
#endif
          fi
       :: stored[i] != ABSENT ->
          printf("node %d: finds that epoch %d exists\n", me, i);
#ifdef EXISTS_IS_OURS
          phase = created
#else
#ifdef EXISTS_IS_FENCED
          reportNotWritten(i);
          endFenced()
#else
          phase = readingBack
#endif
#endif
       /* Gives up waiting; the request goes on without it. */
       :: LATE && !CALM && lateEpoch == 0 ->
          printf("node %d: gives up on its PUT of epoch %d, which is still on its way\n", me, i);
          lateEpoch = i;
          lateBytes = OURS;
          lateBuiltOn = state;
          lateIsLast = HAS(isLast, me);
#ifdef TIMEOUT_IS_NOT_WRITTEN
          reportNotWritten(i);
          endFenced()
#else
          phase = readingBack
#endif
       fi;
       i = 0
     }
  :: atomic { phase == readingBack ->
       i = applied + 1;
       if
       :: stored[i] == OURS ->
          printf("node %d: reads back its own epoch %d\n", me, i);
          phase = created
       :: stored[i] == ABSENT ->
          printf("node %d: finds no epoch %d\n", me, i);
          phase = putting
       :: stored[i] != OURS && stored[i] != ABSENT ->
          printf("node %d: reads back epoch %d by node %d\n", me, i, WRITER(stored[i]));
#ifdef OTHER_IS_NOT_WRITTEN
          notOurs(false);
#else
          notOurs(true);
#endif
#ifdef FENCED_DELETES
          orphan = i;
#endif
          endFenced()
       fi;
       i = 0
     }
  /* Our object is there. Was there time for others to go on without it? */
  :: atomic { phase == created ->
#ifdef NO_AUDIT
       settle()
#else
       if
       :: HAS(proven, me) -> settle()
       :: phase = auditing
       fi
#endif
     }
  /* A listing is not of one moment: what is there from its beginning to its end is in it, what comes or goes may be. */
  :: atomic { phase == auditing ->
       i = applied + 2;
       do
       :: i <= EPOCHS ->
          if
          :: stored[i] != ABSENT -> ADD(began, i)
          :: else
          fi;
          i++
       :: else -> break
       od;
       i = 0;
       phase = listing
     }
  :: atomic { phase == listing ->
       i = applied + 2;
       do
       :: i <= EPOCHS ->
          if
          :: HAS(began, i) && stored[i] != ABSENT -> ADD(sure, i); ADD(may, i)
          :: !HAS(began, i) && stored[i] == ABSENT
          :: else -> ADD(may, i)
          fi;
          i++
       :: else -> break
       od;
       i = applied + 2;
       if
       :: sure == 0 ->
          printf("node %d: audits epoch %d, nothing is after it\n", me, i - 1);
          settle()
       :: HAS(may, i) && (sure & ~(1 << i)) == 0 -> phase = auditingNext
       :: (may >> (i + 1)) != 0 -> beyond = true; phase = auditingNext
#ifdef LISTING_TELLS_A_GAP
       :: (may >> (i + 1)) != 0 && !HAS(sure, i) ->
          printf("node %d: audits epoch %d, a listing shows a later one and not the next\n", me, i - 1);
          withoutUs()
#endif
       fi;
       i = 0; began = 0; sure = 0; may = 0
     }
  :: atomic { phase == auditingNext ->
       i = applied + 2;
       if
       :: stored[i] == ABSENT && !beyond -> phase = auditing
       :: stored[i] == ABSENT && beyond ->
          printf("node %d: audits epoch %d, history went on without it\n", me, i - 1);
          withoutUs()
       :: stored[i] != ABSENT && builtOn[i] == OURS ->
          printf("node %d: audits epoch %d, the next one builds on it\n", me, i - 1);
          acknowledge(i - 1);
          advance(OURS);
          if
          :: HAS(recent, me) -> ADD(proven, me)
          :: else -> DROP(proven, me)
          fi;
          endFenced()
       :: stored[i] != ABSENT && builtOn[i] != OURS ->
          printf("node %d: audits epoch %d, the next one builds on another\n", me, i - 1);
          withoutUs()
       fi;
       i = 0; beyond = 0
     }
  /* In the background, in whatever role. */
  :: atomic { orphan != 0 ->
       i = orphan;
       printf("node %d: deletes epoch %d, which is not part of history\n", me, i);
       expect(stored[i] != history[i] || (i + 1 <= old && i + 2 <= newest), liveHistoryIsDeleted);
       stored[i] = ABSENT;
       builtOn[i] = ABSENT;
       orphan = 0;
       i = 0
     }
#ifdef HANDOVER
  /* ---- hand-over: the leader offers, the standby accepts, the leader hears it and begins its last epoch ---- */
  :: atomic { phase == leads && applied < EPOCHS && handover == noHandover && successor == NOBODY ->
       from = me;
       if
       :: to = (me + 1) % NODES
       :: to = (me + 2) % NODES
       fi;
       handover = offered;
       printf("node %d: offers the leadership to node %d\n", me, to)
     }
  :: atomic { handover == offered && to == me && phase == follows ->
       printf("node %d: accepts\n", me);
       acceptedRecently = true;
       handover = accepted
     }
  /* It waits for no more than half a second. */
  :: atomic { phase == leads && from == me && (handover == offered || handover == accepted) ->
       if
       :: handover == accepted -> handover = handedOver; printf("node %d: hears that it was accepted\n", me)
       :: handover == offered -> handover = noHandover; from = 0; to = 0
       fi;
       ADD(isLast, me);
       printf("node %d: seals its last epoch %d\n", me, applied + 1);
       seal()
     }
  :: atomic { handover == handedOver && to == me && phase == follows ->
       printf("node %d: is to lead next\n", me);
       successor = me;
#ifdef HANDOVER_IS_PROOF
       if
       :: acceptedRecently -> ADD(proven, me)
       :: else
       fi;
#endif
       handover = noHandover; from = 0; to = 0
     }
#endif
  /* ---- crash and restart ---- */
  :: atomic { crashes > 0 && !CALM && (phase != follows || orphan != 0) ->
       crashes--;
       printf("node %d: crashes and joins again\n", me);
       if
       :: phase == putting && lateEpoch == 0 ->
          printf("        (its PUT of epoch %d is still on its way)\n", applied + 1);
          lateEpoch = applied + 1;
          lateBytes = OURS;
          lateBuiltOn = state;
          lateIsLast = HAS(isLast, me)
       :: true
       fi;
       follow();
       DROP(proven, me);
       DROP(progress, me);
       life++;
       orphan = 0;
       began = 0;
       beyond = 0;
       applied = 0;
       state = ABSENT;
       if
       :: successor == me -> successor = NOBODY; acceptedRecently = false
       :: else
       fi;
       if
       :: handover != noHandover && (from == me || to == me) ->
          handover = noHandover; from = 0; to = 0; acceptedRecently = false
       :: else
       fi;
       readAnew()
     }
  od
}

inline trim(e) {
  printf("store:  the retention deletes epoch %d\n", e);
  stored[e] = ABSENT;
  builtOn[e] = ABSENT
}

/* The store, the retention of whoever leads or believes to, and time. */
proctype World() {
end:
  do
#ifdef LIVENESS
  :: atomic { !calm -> calm = true }
#endif
  :: atomic { lateEpoch != 0 ->
       if
       :: stored[lateEpoch] == ABSENT ->
          printf("store:  the PUT of epoch %d by node %d lands\n", lateEpoch, WRITER(lateBytes));
          create(lateEpoch, lateBytes, lateBuiltOn, lateIsLast)
       :: stored[lateEpoch] != ABSENT -> printf("store:  the late PUT of epoch %d finds that it exists\n", lateEpoch)
       :: printf("store:  the late PUT of epoch %d is lost\n", lateEpoch)
       fi;
       lateEpoch = 0; lateBytes = 0; lateBuiltOn = 0; lateIsLast = 0
     }
  :: atomic { MAY_TRIM(1) -> trim(1) }
  :: atomic { MAY_TRIM(2) -> trim(2) }
#if EPOCHS > 2
  :: atomic { MAY_TRIM(3) -> trim(3) }
#endif
#if EPOCHS > 3
  :: atomic { MAY_TRIM(4) -> trim(4) }
#endif
  :: atomic { (old != newest || proven != 0 || progress != 0 || recent != 0 || acceptedRecently) && MAY_AGE ->
       printf("        AGES PASS\n");
       old = newest;
       proven = 0;
       progress = 0;
       recent = 0;
       acceptedRecently = false
     }
  od
}

init {
  atomic {
    stored[0] = FIRST;
    history[0] = FIRST;
    ADD(proven, 0);
    progress = 7;
    run World();
    run Node(0);
    run Node(1);
    run Node(2)
  }
}

#ifdef LIVENESS
/* Whoever leads goes on writing, and where nobody does somebody claims: the numbers run out. */
ltl live { [] (calm -> <> (newest == EPOCHS)) }
#endif
