/** A store to run a cluster over, and what can go wrong with it. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { FileSystemStore, type ObjectStore, openStore } from "../../src/mod.ts";
import { createBucket } from "../../tests/store/bucket.ts";
import type { Fault } from "./fault.ts";
import { diskFaults } from "./faults-disk.ts";
import { s3Faults } from "./faults-s3.ts";
import { startRgw } from "./rgw.ts";
import { S3Proxy } from "./s3-proxy.ts";
import { SmallDisk } from "./small-disk.ts";

export type StoreName = "fs" | "s3";

export interface ChaosStore {
  readonly name: StoreName;
  /** For members, past whatever goes wrong. */
  readonly url: string;
  readonly environment: Readonly<Record<string, string>>;
  /** For who judges: nothing goes wrong here. */
  readonly direct: ObjectStore;
  readonly faults: readonly Fault[];
  /** What cannot be done on this machine. */
  readonly skipped: readonly string[];
  /** The directory of a store of files. */
  readonly directory: string | undefined;
  /** Resolves when nothing of what went wrong may still take effect. */
  settled(): Promise<void>;
  /** What was done to single requests, as far as that is counted. */
  requestFaults(): ReadonlyMap<string, number>;
  close(): Promise<void>;
}

/** In a small file system of its own, if this process may mount one. */
export async function openFileStore(directory: string, bytesMax: number): Promise<ChaosStore> {
  const disk = SmallDisk.mount(join(directory, "disk"), bytesMax);
  const root = join("path" in disk ? disk.path : join(directory, "disk"), "store");
  return {
    name: "fs",
    url: root,
    environment: {},
    direct: new FileSystemStore(root),
    faults: "path" in disk ? diskFaults(disk) : [],
    skipped: "path" in disk ? [] : [`disk full, read-only disk: ${disk.missing}`],
    directory: root,
    settled: async () => {},
    requestFaults: () => new Map(),
    close: async () => {
      if ("path" in disk) await disk.unmount();
    },
  };
}

/** Ceph RGW behind a proxy, or why there is none. */
export async function openS3Store(): Promise<ChaosStore | { readonly missing: string }> {
  const rgw = await startRgw();
  if ("missing" in rgw) return rgw;
  const { server, stop } = rgw;
  const bucket = `chaos-${randomUUID()}`;
  await createBucket(server, bucket);
  const proxy = await S3Proxy.open(server.endpoint);
  const environment = {
    AWS_ACCESS_KEY_ID: server.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.credentials.secretAccessKey,
  };
  const urlAt = (endpoint: string) => `s3://${bucket}?endpoint=${endpoint}&region=${server.region}&pathStyle=true`;
  return {
    name: "s3",
    url: urlAt(proxy.endpoint),
    environment,
    direct: openStore(urlAt(server.endpoint), environment),
    faults: s3Faults(proxy),
    skipped: [],
    directory: undefined,
    settled: () => proxy.settled(),
    requestFaults: () => proxy.done,
    close: async () => {
      await proxy.close();
      await stop();
    },
  };
}
