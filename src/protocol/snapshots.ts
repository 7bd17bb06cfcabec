/** When the leader takes a snapshot (docs/architecture.md §8 and the *defaults* in config.ts). */

export interface SnapshotSettings {
  readonly walBytesMin: number;
  readonly databaseFraction: number;
  readonly objectsMax: number;
  readonly epochsMax: number;
  readonly intervalMinMs: number;
}

export interface SnapshotSituation {
  /** What a join reads after the newest snapshot: packs and WALs. */
  readonly objects: number;
  readonly bytes: number;
  /** Since the newest snapshot. */
  readonly epochs: number;
  readonly databaseBytes: number;
  /** Since the last snapshot of this leadership began; `Infinity` if there was none. */
  readonly sinceLastMs: number;
}

/** True if reading what came after the last snapshot has become dearer than reading a new one. */
export function isSnapshotDue(situation: SnapshotSituation, settings: SnapshotSettings): boolean {
  if (situation.epochs === 0 || situation.sinceLastMs < settings.intervalMinMs) return false;
  const bytesMax = readBytesMax(situation.databaseBytes, settings);
  return (
    situation.bytes > bytesMax || situation.objects >= settings.objectsMax || situation.epochs >= settings.epochsMax
  );
}

/** What is read after a snapshot may have so many bytes; a pack that is larger is worse than a snapshot. */
export function readBytesMax(
  databaseBytes: number,
  { walBytesMin, databaseFraction }: Pick<SnapshotSettings, "walBytesMin" | "databaseFraction">,
): number {
  return Math.max(walBytesMin, databaseBytes * databaseFraction);
}
