import type { CheckName, DoctorFinding, DoctorReport, Verdict } from "../../src/cli/doctor/finding.ts";
import { type DoctorOptions, runDoctor } from "../../src/cli/doctor/run-doctor.ts";
import type { ObjectStore } from "../../src/store/store.ts";

/** What the doctor finds out about the store. */
export async function examine(store: ObjectStore, options: DoctorOptions = {}): Promise<DoctorReport> {
  const doctor = runDoctor(store, options);
  for (;;) {
    const { done, value } = await doctor.next();
    if (done) return value;
  }
}

/** The verdicts of the check's findings. */
export function verdictsOf({ findings }: DoctorReport, check: CheckName): Verdict[] {
  return findings.filter((finding) => finding.check === check).map(({ verdict }) => verdict);
}

/** The one finding of the check. */
export function findingOf({ findings }: DoctorReport, check: CheckName): DoctorFinding {
  const [finding, ...more] = findings.filter((other) => other.check === check);
  if (finding === undefined || more.length > 0) throw new Error(`there are ${more.length + 1} findings of ${check}`);
  return finding;
}

/** The checks whose findings are a warning or bad, with what they are. */
export function complaintsOf({ findings }: DoctorReport): string[] {
  return findings
    .filter(({ verdict }) => verdict === "warning" || verdict === "bad")
    .map(({ check, verdict }) => `${check}: ${verdict}`);
}

/** Every key of the store. */
export async function keysOf(store: ObjectStore): Promise<string[]> {
  const { objects, more } = await store.list("");
  if (more) throw new Error("more than a page of objects");
  return objects.map(({ key }) => key);
}
