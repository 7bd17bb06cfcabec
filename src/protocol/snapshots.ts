/** When the leader takes a snapshot (docs/architecture.md §5 and the *defaults* in config.ts). */

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
  const bytesMax = Math.max(settings.walBytesMin, situation.databaseBytes * settings.databaseFraction);
  return (
    situation.bytes > bytesMax || situation.objects >= settings.objectsMax || situation.epochs >= settings.epochsMax
  );
}
