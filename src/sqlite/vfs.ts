/**
 * SQLite's file callbacks, as thin as they can be: pointers in, calls of a
 * {@link VfsFile} out. What a file is, others decide (`files.ts`).
 *
 * https://www.sqlite.org/c3ref/io_methods.html, https://www.sqlite.org/c3ref/vfs.html
 */
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Pointer, Sqlite } from "./wasm.ts";

/** The name under which connections ask for our VFS. */
export const VFS_NAME = "lbc";

const SQLITE_OK = 0;
const SQLITE_IOERR_READ = 266;
const SQLITE_IOERR_SHORT_READ = 522;
const SQLITE_IOERR_WRITE = 778;
const SQLITE_NOTFOUND = 12;
const SQLITE_CANTOPEN = 14;
const SQLITE_OPEN_CREATE = 4;
const SECTOR_BYTES = 4096;
const PATH_BYTES_MAX = 512;
/** ATOMIC4K, SAFE_APPEND, SEQUENTIAL, POWERSAFE_OVERWRITE: nothing of ours is ever torn, it is memory. */
const DEVICE_CHARACTERISTICS = 0x10 | 0x200 | 0x400 | 0x1000;
const UNIX_EPOCH_JULIAN_DAYS = 2440587.5;
const DAY_MS = 86_400_000;

/** An open file. Offsets and lengths in bytes; `heap` is SQLite's memory. */
export interface VfsFile {
  /** Copies bytes to `heap`; gives how many there were: fewer than `length` at the end of the file. */
  read(offset: number, length: number, heap: Uint8Array, heapOffset: number): number;
  write(offset: number, length: number, heap: Uint8Array, heapOffset: number): void;
  truncate(size: number): void;
  size(): number;
  /** Level 1 is SQLite's SHARED. */
  lock?(level: number): void;
  /** Level 0 is SQLite's NONE. */
  unlock?(level: number): void;
  close?(): void;
}

/** A place in the name space of the VFS. */
export interface VfsEntry {
  /** Whether SQLite finds a file there. */
  exists(): boolean;
  open(): VfsFile;
}

/** The VFS of one {@link Sqlite} instance. */
export class Vfs {
  readonly #entries = new Map<string, VfsEntry>();
  readonly #open = new Map<Pointer, VfsFile>();
  readonly #openTemporary: () => VfsFile;
  #clock: Clock;
  #random: Random;
  /** The last exception of a file; SQLite itself only knows "I/O error". */
  lastError: unknown;

  constructor(sqlite: Sqlite, clock: Clock, random: Random, openTemporary: () => VfsFile) {
    this.#openTemporary = openTemporary;
    this.#clock = clock;
    this.#random = random;
    const { api, module } = sqlite;
    const vfs = new api.sqlite3_vfs();
    const io = new api.sqlite3_io_methods();
    io.$iVersion = 1;
    vfs.$iVersion = 2;
    vfs.$szOsFile = api.sqlite3_file.structInfo.sizeof;
    vfs.$mxPathname = PATH_BYTES_MAX;
    vfs.$zName = module.wasm.allocCString(VFS_NAME);
    // The default one, because that is the one which SQLite asks for the seed of its random numbers.
    module.vfs.installVfs({
      io: { struct: io, methods: this.#ioMethods(sqlite) },
      vfs: { struct: vfs, methods: this.#vfsMethods(sqlite, io), name: VFS_NAME, asDefault: true },
    });
  }

  /** Puts a file at a path. */
  set(path: string, entry: VfsEntry): void {
    this.#entries.set(path, entry);
  }

  /** Takes the path away; files that are open stay so. */
  delete(path: string): void {
    this.#entries.delete(path);
  }

  /** Forgets every file, for another user of the instance; SQLite's memory must have been set back, see `Sqlite.restore`. */
  reset(clock: Clock, random: Random): void {
    this.#entries.clear();
    this.#open.clear();
    this.#clock = clock;
    this.#random = random;
    this.lastError = undefined;
  }

  #ioMethods(sqlite: Sqlite): Record<string, unknown> {
    const file = (pointer: Pointer): VfsFile => this.#open.get(pointer) as VfsFile;
    return {
      xClose: (pointer: Pointer) => {
        const closing = this.#open.get(pointer);
        this.#open.delete(pointer);
        return this.#guard(() => closing?.close?.(), SQLITE_OK);
      },
      xRead: (pointer: Pointer, target: Pointer, length: number, offset: bigint) => {
        try {
          const heap = sqlite.heap;
          const count = file(pointer).read(Number(offset), length, heap, target);
          if (count === length) return SQLITE_OK;
          heap.fill(0, target + count, target + length);
          return SQLITE_IOERR_SHORT_READ;
        } catch (error) {
          this.lastError = error;
          return SQLITE_IOERR_READ;
        }
      },
      xWrite: (pointer: Pointer, source: Pointer, length: number, offset: bigint) =>
        this.#guard(() => file(pointer).write(Number(offset), length, sqlite.heap, source)),
      xTruncate: (pointer: Pointer, size: bigint) => this.#guard(() => file(pointer).truncate(Number(size))),
      xSync: () => SQLITE_OK,
      xFileSize: (pointer: Pointer, out: Pointer) => {
        sqlite.view.setBigInt64(out, BigInt(file(pointer).size()), true);
        return SQLITE_OK;
      },
      xLock: (pointer: Pointer, level: number) => this.#guard(() => file(pointer).lock?.(level)),
      xUnlock: (pointer: Pointer, level: number) => this.#guard(() => file(pointer).unlock?.(level)),
      xCheckReservedLock: (_pointer: Pointer, out: Pointer) => {
        sqlite.view.setInt32(out, 0, true);
        return SQLITE_OK;
      },
      xFileControl: () => SQLITE_NOTFOUND,
      xSectorSize: () => SECTOR_BYTES,
      xDeviceCharacteristics: () => DEVICE_CHARACTERISTICS,
    };
  }

  #vfsMethods(sqlite: Sqlite, io: CStructPointer): Record<string, unknown> {
    return {
      xOpen: (_vfs: Pointer, name: Pointer, pointer: Pointer, flags: number, outFlags: Pointer) => {
        const path = name === 0 ? undefined : sqlite.cString(name);
        const entry = path === undefined ? undefined : this.#entries.get(path);
        if (path !== undefined && (entry === undefined || (!entry.exists() && (flags & SQLITE_OPEN_CREATE) === 0))) {
          return SQLITE_CANTOPEN;
        }
        this.#open.set(pointer, entry === undefined ? this.#openTemporary() : entry.open());
        const file = new sqlite.api.sqlite3_file(pointer);
        file.$pMethods = io.pointer;
        file.dispose();
        if (outFlags !== 0) sqlite.view.setInt32(outFlags, flags, true);
        return SQLITE_OK;
      },
      xDelete: () => SQLITE_OK,
      xAccess: (_vfs: Pointer, name: Pointer, _flags: number, out: Pointer) => {
        const exists = this.#entries.get(sqlite.cString(name))?.exists() ?? false;
        sqlite.view.setInt32(out, exists ? 1 : 0, true);
        return SQLITE_OK;
      },
      xFullPathname: (_vfs: Pointer, name: Pointer, bytes: number, out: Pointer) => {
        const heap = sqlite.heap;
        const end = heap.indexOf(0, name) + 1;
        if (end - name > bytes) return SQLITE_CANTOPEN;
        heap.copyWithin(out, name, end);
        return SQLITE_OK;
      },
      xRandomness: (_vfs: Pointer, bytes: number, out: Pointer) => {
        sqlite.heap.set(this.#random.bytes(bytes), out);
        return bytes;
      },
      xSleep: (_vfs: Pointer, microseconds: number) => microseconds,
      xCurrentTime: (_vfs: Pointer, out: Pointer) => {
        sqlite.view.setFloat64(out, UNIX_EPOCH_JULIAN_DAYS + this.#clock.wallMs() / DAY_MS, true);
        return SQLITE_OK;
      },
      xCurrentTimeInt64: (_vfs: Pointer, out: Pointer) => {
        sqlite.view.setBigInt64(out, BigInt(Math.floor(UNIX_EPOCH_JULIAN_DAYS * DAY_MS + this.#clock.wallMs())), true);
        return SQLITE_OK;
      },
      xGetLastError: () => SQLITE_OK,
    };
  }

  #guard(action: () => void, onError: number = SQLITE_IOERR_WRITE): number {
    try {
      action();
      return SQLITE_OK;
    } catch (error) {
      this.lastError = error;
      return onError;
    }
  }
}

interface CStructPointer {
  readonly pointer: Pointer;
}
