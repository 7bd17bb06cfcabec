/** When the leader takes a snapshot (docs/architecture.md §5 and the *defaults* in config.ts). */

export interface SnapshotSettings {
  readonly walBytesMin: number;
  readonly databaseFraction: number;
  readonly epochsMax: number;
  readonly intervalMinMs: number;
}

export interface SnapshotSituation {
  /** Bytes of the WALs since the newest snapshot. */
  readonly walBytes: number;
  readonly epochs: number;
  readonly databaseBytes: number;
  /** Since the last snapshot of this leadership began; `Infinity` if there was none. */
  readonly sinceLastMs: number;
}

/** True if reading the epochs since the last snapshot has become dearer than writing a new one. */
export function isSnapshotDue(situation: SnapshotSituation, settings: SnapshotSettings): boolean {
  if (situation.epochs === 0 || situation.sinceLastMs < settings.intervalMinMs) return false;
  const walBytesMax = Math.max(settings.walBytesMin, situation.databaseBytes * settings.databaseFraction);
  return situation.walBytes > walBytesMax || situation.epochs >= settings.epochsMax;
}
