/** Files and frames as bytes: src/format. */
import { type Edit, type Mutant, mutant } from "../mutant.ts";

const WAL = { test: "tests/format/wal.test.ts" };
const FRAMES = { test: "tests/format/stream-frames.test.ts" };
const ROWS = { test: "tests/format/system-rows.test.ts" };
const PACK = { test: "tests/format/pack.test.ts" };

const wal = (find: string, replace: string): Edit => ({ file: "src/format/wal.ts", find, replace });

export const FORMAT_MUTANTS: readonly Mutant[] = [
  mutant(
    "frame-checksum-skipped",
    "P7",
    "The checksums of a WAL's frames are not looked at.",
    wal("    sum.check(view, offset + 16, what,", "    if (offset < 0) sum.check(view, offset + 16, what,"),
    [WAL],
  ),
  mutant(
    "header-checksum-skipped",
    "P7",
    "The checksum of a WAL's header is not looked at.",
    wal('  sum.check(view, 24, what, "header checksum");\n', ""),
    [WAL],
  ),
  mutant(
    "salts-skipped",
    "P7",
    "Frames of another WAL file are taken.",
    wal(
      "if (view.getUint32(offset + 8 + salt) !== view.getUint32(16 + salt)) {",
      "if (view.getUint32(offset + 8 + salt) < 0) {",
    ),
    [WAL],
  ),
  mutant(
    "many-commits",
    "P2",
    "A WAL may have several commits, or none at its end.",
    wal("if ((pageCount !== 0) !== (frame === fileFrameCount - 1)) {", "if (pageCount < 0) {"),
    [WAL],
  ),
  mutant(
    "bytes-after-the-commit",
    "P7",
    "What follows the last whole frame is ignored.",
    wal("if ((fileBytes - WAL_HEADER_BYTES) % FRAME_BYTES !== 0) {", "if (fileBytes < WAL_HEADER_BYTES) {"),
    [WAL],
  ),
  mutant(
    "page-zero",
    "P7",
    "A frame of page 0 is taken.",
    wal("if (pageNumber === 0) refuse(", "if (pageNumber < 0) refuse("),
    [WAL],
  ),
  mutant(
    "pack-of-another",
    "P7",
    "A pack of other epochs, or of another cluster, is taken.",
    {
      file: "src/format/pack.ts",
      find: "if (isPackOf(wal.bytes, clusterId, range)) return wal;",
      replace: "if (isPackOf(wal.bytes, clusterId, range) || what) return wal;",
    },
    [PACK, { test: "tests/history/restore.test.ts" }],
  ),
  mutant(
    "unknown-format-is-read",
    "P7",
    "A database of a format to come is read as if it were of ours.",
    {
      file: "src/format/system-rows.ts",
      find: "if (format !== undefined && format !== FORMAT) {",
      replace: "if (format !== undefined && typeof format !== typeof FORMAT) {",
    },
    [ROWS],
  ),
  mutant(
    "frames-of-any-length",
    "P10",
    "A frame of the stream may announce any length.",
    {
      file: "src/format/stream-frames.ts",
      find: "  if (bodyBytes <= FRAME_BODY_BYTES_MAX) return bodyBytes;\n",
      replace: "  if (bodyBytes >= 0) return bodyBytes;\n",
    },
    [FRAMES],
  ),
  mutant(
    "epochs-beyond-numbers",
    "P7",
    "A frame may name an epoch that no number can hold.",
    {
      file: "src/format/stream-frames.ts",
      find: "if (!Number.isSafeInteger(epoch)) throw",
      replace: "if (Number.isNaN(epoch)) throw",
    },
    [FRAMES],
  ),
  mutant(
    "keys-without-leading-zeros",
    "P2",
    "Epochs in keys are not padded, so a listing is not in their order.",
    { file: "src/format/keys.ts", find: "padStart(EPOCH_DIGITS,", replace: "padStart(1," },
    [{ test: "tests/format/keys.test.ts" }],
  ),
];
