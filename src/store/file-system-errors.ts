import { ClusterError, errorMessage } from "../errors.ts";

/** What a file system call was doing, for its error. */
export interface FileCall {
  readonly action: "read" | "write" | "list" | "delete";
  /** Key or prefix. */
  readonly key: string;
  /** Path of the store's root directory. */
  readonly root: string;
}

/** The system's own name of an error, e.g. `ENOENT`. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** True if the error says that there is nothing at that path. */
export function isAbsent(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === "ENOENT" || errno === "ENOTDIR";
}

/** What an error of the file system means to the caller of the store. */
export function fileSystemError(call: FileCall, error: unknown): ClusterError {
  if (error instanceof ClusterError) return error;
  const errno = errnoOf(error);
  const { kind, code, reason } = meaningOf(errno, error);
  const text = `cannot ${call.action} ${JSON.stringify(call.key)} in ${call.root}: ${reason}`;
  return new ClusterError(kind, code, text, { key: call.key, root: call.root, errno }, { cause: error });
}

interface Meaning {
  readonly kind: "invalid" | "unavailable";
  readonly code: string;
  readonly reason: string;
}

function meaningOf(errno: string | undefined, error: unknown): Meaning {
  switch (errno) {
    case "EACCES":
    case "EPERM":
      return { kind: "invalid", code: "store_denied", reason: `permission denied (${errno})` };
    case "EROFS":
      return { kind: "invalid", code: "store_denied", reason: "the file system is read-only (EROFS)" };
    case "EISDIR":
    case "ENOTEMPTY":
      return { kind: "invalid", code: "bad_key", reason: "other objects' keys go on below this key" };
    case "ENOTDIR":
      return { kind: "invalid", code: "bad_key", reason: "a part of the key before a slash is an object itself" };
    case "ENAMETOOLONG":
      return { kind: "invalid", code: "bad_key", reason: "the path is too long for the file system" };
    case "ENOSPC":
    case "EDQUOT":
      return { kind: "unavailable", code: "store_full", reason: `no space left (${errno})` };
    case "EOPNOTSUPP":
    case "ENOTSUP":
    case "ENOSYS":
      return { kind: "invalid", code: "store_unsupported", reason: `the file system cannot do that (${errno})` };
    default:
      return { kind: "unavailable", code: "store_failed", reason: errorMessage(error) };
  }
}

/** The error when the store's root exists but is no directory. */
export function notADirectory(root: string): ClusterError {
  return new ClusterError("invalid", "store_bad_directory", `the store's directory ${root} is not a directory`, {
    root,
  });
}

/** The error when hard links, on which an atomic create rests, are refused. */
export function noHardLinks(root: string, cause: unknown): ClusterError {
  const text = `the file system of ${root} refuses hard links, which an atomic create needs; use another one`;
  return new ClusterError("invalid", "store_unsupported", text, { root, errno: errnoOf(cause) }, { cause });
}
