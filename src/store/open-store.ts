import process from "node:process";
import { fileURLToPath } from "node:url";
import { ClusterError } from "../errors.ts";
import { FileSystemStore } from "./file-system-store.ts";
import { MemoryStore } from "./memory-store.ts";
import { PrefixStore } from "./prefix-store.ts";
import { RetryingStore } from "./retrying-store.ts";
import { credentialsFromEnvironment, type Environment } from "./s3-credentials.ts";
import { S3Store } from "./s3-store.ts";
import type { ObjectStore } from "./store.ts";

const S3_PARAMETERS = ["endpoint", "region", "pathStyle"] as const;

const FORMS = "s3://bucket/prefix?endpoint=…&region=…, file:///directory, ./directory or memory:";

/**
 * The store that a URL names:
 *
 * | URL | store |
 * |---|---|
 * | `s3://bucket/prefix?endpoint=…&region=…&pathStyle=true` | `S3Store` below `prefix`, with retries; all but the bucket may be left out |
 * | `file:///directory`, or a path that begins with `/`, `./` or `../` | `FileSystemStore` |
 * | `memory:` | a new, empty `MemoryStore` |
 *
 * For S3, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` come from `environment`,
 * as do, where the URL has none, the region (`AWS_REGION`, `AWS_DEFAULT_REGION`)
 * and the endpoint (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`).
 *
 * @throws ClusterError `invalid`: `bad_store_url`, `no_credentials`, `bad_credentials`, `bad_key` for the prefix
 */
export function openStore(url: string, environment: Environment = process.env): ObjectStore {
  if (/^\.{0,2}\//.test(url) || url === "." || url === "..") return new FileSystemStore(url);
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(url)?.[1]?.toLowerCase();
  switch (scheme) {
    case "memory":
      if (url.length > "memory:".length) throw badUrl("memory: takes nothing after it");
      return new MemoryStore();
    case "file":
      return new FileSystemStore(directoryOf(url));
    case "s3":
      return openS3(parse(url), environment);
    case undefined:
      throw badUrl(`it has no scheme; for a directory write ./${url}`);
    default:
      throw badUrl(`"${scheme}:" is not known`);
  }
}

function openS3(url: URL, environment: Environment): ObjectStore {
  if (url.username !== "" || url.password !== "") {
    throw badUrl("it must not hold credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  }
  if (url.port !== "" || url.hash !== "") throw badUrl('an S3 URL has no port and no "#"');
  for (const name of url.searchParams.keys()) {
    if (S3_PARAMETERS.some((known) => known === name)) continue;
    throw badUrl(`the parameter "${name}" is not one of ${S3_PARAMETERS.join(", ")}`);
  }
  const [endpoint, region, pathStyle] = S3_PARAMETERS.map((name) => url.searchParams.get(name) || undefined);
  const store = new S3Store({
    bucket: url.hostname,
    endpoint: endpoint ?? (environment.AWS_ENDPOINT_URL_S3 || environment.AWS_ENDPOINT_URL || undefined),
    region: region ?? (environment.AWS_REGION || environment.AWS_DEFAULT_REGION || undefined),
    pathStyle: flag("pathStyle", pathStyle),
    credentials: credentialsFromEnvironment(environment),
  });
  const prefix = prefixOf(url);
  return new RetryingStore(prefix === "" ? store : new PrefixStore(store, prefix));
}

function prefixOf(url: URL): string {
  try {
    return decodeURIComponent(url.pathname).replace(/^\//, "").replace(/\/$/, "");
  } catch {
    throw badUrl("its path is not valid percent-encoding");
  }
}

function directoryOf(url: string): string {
  try {
    return fileURLToPath(parse(url));
  } catch {
    throw badUrl("a file URL has the form file:///directory");
  }
}

function flag(name: string, value: string | undefined): boolean | undefined {
  if (value === undefined) return undefined;
  if (value === "true" || value === "false") return value === "true";
  throw badUrl(`the parameter "${name}" is true or false`);
}

function parse(url: string): URL {
  try {
    return new URL(url);
  } catch {
    throw badUrl("it cannot be read as a URL");
  }
}

/** The URL itself is not in the error: it may hold what should not have been in it. */
function badUrl(reason: string): ClusterError {
  return new ClusterError("invalid", "bad_store_url", `not the URL of a store: ${reason}. It is one of ${FORMS}`);
}
