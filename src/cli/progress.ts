/** A progress bar with bytes and rate, on a terminal. */
// @ts-types="npm:@types/cli-progress@^3.11.6"
import cliProgress from "cli-progress";
import type { ByteProgress } from "../history/progress.ts";
import type { ProgressBar, TextOutput } from "./context.ts";
import { bytesText } from "./text.ts";

/** Redrawn this often at the most: by {@link ProgressBar.onProgress}, not by a timer. */
const FRAMES_PER_SECOND = 10;
const BAR_COLUMNS = 24;

const NO_BAR: ProgressBar = { onProgress: () => {}, end: () => {} };

/** Shows nothing where `output` is no terminal. */
export function progressBar(output: TextOutput, label: string): ProgressBar {
  if (!output.isTerminal) return NO_BAR;
  const beganMs = performance.now();
  const rate = (bytes: number) => `${bytesText(bytes / Math.max(0.001, (performance.now() - beganMs) / 1000))}/s`;
  const bar = new cliProgress.SingleBar({
    stream: output.stream,
    fps: FRAMES_PER_SECOND,
    barsize: BAR_COLUMNS,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    clearOnComplete: true,
    linewrap: null,
    // Ctrl-C ends the command, which ends the bar.
    gracefulExit: false,
    format: (options, { progress, value, total }) => {
      const drawn = cliProgress.Format.BarFormat(progress, options);
      const percent = `${Math.floor(progress * 100)}%`.padStart(4);
      return `${label} ${output.colors.cyan(drawn)} ${percent}  ${bytesText(value)} of ${bytesText(total)}  ${rate(value)}`;
    },
  });
  let isStarted = false;
  return {
    onProgress({ bytes, bytesTotal }: ByteProgress): void {
      const total = Math.max(1, bytesTotal, bytes);
      if (!isStarted) bar.start(total, bytes);
      isStarted = true;
      bar.setTotal(total);
      bar.update(bytes);
    },
    end(): void {
      if (isStarted) bar.stop();
      isStarted = false;
    },
  };
}
