/** What goes wrong with the disk below a store of files. */
import type { Fault } from "./fault.ts";
import type { SmallDisk } from "./small-disk.ts";

/** For a few small files, so that some writes still succeed, or are cut off in the middle. */
const BYTES_LEFT_MAX = 64 * 1024;

export const READ_ONLY_DISK = "disk read-only";

export function diskFaults(disk: SmallDisk): readonly Fault[] {
  const full = (name: string, sessions: number): Fault => ({
    name,
    lane: "store",
    run: async ({ random, pause, sessionTimeoutMs }) => {
      try {
        await disk.fill(random.int(0, BYTES_LEFT_MAX - 1));
        await pause(sessionTimeoutMs * sessions * 0.5, sessionTimeoutMs * sessions);
      } finally {
        await disk.free();
      }
      return disk.path;
    },
  });
  const readOnly: Fault = {
    name: READ_ONLY_DISK,
    lane: "store",
    run: async ({ pause, sessionTimeoutMs }) => {
      try {
        if (!(await disk.protect())) return undefined;
        await pause(sessionTimeoutMs * 0.5, sessionTimeoutMs * 1.5);
      } finally {
        await disk.unprotect();
      }
      return disk.path;
    },
  };
  return [full("disk full", 0.6), full("disk full for long", 1.6), readOnly];
}
