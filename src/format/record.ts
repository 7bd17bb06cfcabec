/**
 * SQLite's rows as they are stored in the leaf pages of a table: https://www.sqlite.org/fileformat2.html#b_tree_pages
 *
 * ```
 * page   type 0x0d │ … │ cell count u16 @3 │ … │ cell offsets u16 … @8 │ … cells
 * cell   payload size varint │ rowid varint │ payload
 * payload   header size varint │ serial type varint … │ values
 * ```
 *
 * Texts are UTF-8. Whatever the bytes are, reading them ends and never throws: what makes no sense is `undefined`.
 */

/** A value in a row; `undefined` never means NULL. */
export type RecordValue = null | number | bigint | string | Uint8Array;

const LEAF_TABLE_PAGE = 0x0d;
const PAGE_HEADER_BYTES = 8;
const CELL_COUNT_OFFSET = 3;
const VARINT_BYTES_MAX = 9;
/** A longer payload goes on in overflow pages, with usable pages of 4096 bytes. */
const LOCAL_PAYLOAD_BYTES_MAX = 4096 - 35;

/** A number and where what follows it begins. */
interface Varint {
  readonly value: number;
  readonly end: number;
}

/**
 * The rows of a leaf page of a table, in their order. A row that does not fit into the page is left out.
 *
 * @param accepts looks at each row; the first that it refuses ends the reading
 * @returns `undefined` if the page is not one, or a row was refused
 */
export function readLeafRows(
  page: Uint8Array,
  accepts: (row: readonly RecordValue[]) => boolean,
): RecordValue[][] | undefined {
  if (page[0] !== LEAF_TABLE_PAGE) return undefined;
  const cellCount = readUint16(page, CELL_COUNT_OFFSET);
  const cellsStart = PAGE_HEADER_BYTES + 2 * cellCount;
  if (cellsStart > page.length) return undefined;
  const rows: RecordValue[][] = [];
  for (let cell = 0; cell < cellCount; cell++) {
    const offset = readUint16(page, PAGE_HEADER_BYTES + 2 * cell);
    if (offset < cellsStart) return undefined;
    const size = readVarint(page, offset, page.length);
    const rowid = size && readVarint(page, size.end, page.length);
    if (size === undefined || rowid === undefined) return undefined;
    if (size.value > LOCAL_PAYLOAD_BYTES_MAX) continue;
    const row = readRecord(page, rowid.end, rowid.end + size.value);
    if (row === undefined || !accepts(row)) return undefined;
    rows.push(row);
  }
  return rows;
}

/** The values of the record in `bytes` from `start` to `end`: https://www.sqlite.org/fileformat2.html#record_format */
export function readRecord(bytes: Uint8Array, start: number, end: number): RecordValue[] | undefined {
  if (end > bytes.length) return undefined;
  const header = readVarint(bytes, start, end);
  if (header === undefined) return undefined;
  const headerEnd = start + header.value;
  if (headerEnd > end || headerEnd < header.end) return undefined;
  const values: RecordValue[] = [];
  let at = headerEnd;
  for (let next = header.end; next < headerEnd; ) {
    const type = readVarint(bytes, next, headerEnd);
    if (type === undefined) return undefined;
    next = type.end;
    const length = valueByteLength(type.value);
    if (length === undefined || at + length > end) return undefined;
    values.push(readValue(bytes.subarray(at, at + length), type.value));
    at += length;
  }
  return values;
}

/** Seven bits a byte, most significant first. The value of one of nine bytes, which only a rowid has, is not exact. */
function readVarint(bytes: Uint8Array, start: number, end: number): Varint | undefined {
  let value = 0;
  for (let index = 0; index < VARINT_BYTES_MAX; index++) {
    const byte = bytes[start + index];
    if (byte === undefined || start + index >= end) return undefined;
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80 || index === VARINT_BYTES_MAX - 1) return { value, end: start + index + 1 };
  }
  return undefined;
}

/** Bytes of the serial types 0 to 9; 10 and 11 are never stored. */
const FIXED_LENGTHS: readonly number[] = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0];

function valueByteLength(serialType: number): number | undefined {
  if (serialType < 12) return FIXED_LENGTHS[serialType];
  return Math.floor((serialType - 12) / 2);
}

function readValue(bytes: Uint8Array, serialType: number): RecordValue {
  if (serialType === 0) return null;
  if (serialType === 8 || serialType === 9) return serialType - 8;
  if (serialType === 7) return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0);
  if (serialType < 7) return readInteger(bytes);
  return serialType % 2 === 1 ? decodeUtf8(bytes) : bytes.slice();
}

/** Big-endian two's complement of 1 to 8 bytes. */
function readInteger(bytes: Uint8Array): number | bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  const integer = BigInt.asIntN(8 * bytes.length, value);
  const approximate = Number(integer);
  return Number.isSafeInteger(approximate) ? approximate : integer;
}

function readUint16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
}

const REPLACEMENT = 0xfffd;

/** What is not valid becomes U+FFFD. The pure folders have no `TextDecoder`. */
function decodeUtf8(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i] as number;
    const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    let code = length === 1 ? first : first & (0xff >> (length + 1));
    let used = 1;
    while (used < length && ((bytes[i + used] ?? 0) & 0xc0) === 0x80) {
      code = (code << 6) | ((bytes[i + used] as number) & 0x3f);
      used++;
    }
    const isValid = length > 0 && used === length && !isOverlongOrSurrogate(code, length) && code <= 0x10ffff;
    text += String.fromCodePoint(isValid ? code : REPLACEMENT);
    i += isValid ? length : 1;
  }
  return text;
}

function isOverlongOrSurrogate(code: number, length: number): boolean {
  return (length === 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) || (length === 4 && code < 0x10000);
}
