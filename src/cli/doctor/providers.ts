/** What is known about stores by their address: from their documents and from trying; the checks have the last word. */
import type { DoctorFinding } from "./finding.ts";

interface Provider {
  readonly name: string;
  /** Of the host, and of the bucket where that says more. */
  readonly host: RegExp;
  readonly bucket?: RegExp;
  readonly verdict: "info" | "warning";
  readonly note: string;
  /** With a warning: what to do. */
  readonly advice?: string;
}

const ATOMIC = "If-None-Match on PUT is an atomic create";

/** The first that matches counts. */
const PROVIDERS: readonly Provider[] = [
  {
    name: "S3 Express",
    host: /(^|\.)s3express-[a-z0-9-]+\.|\.amazonaws\.com(\.cn)?$/,
    bucket: /--x-s3$/,
    verdict: "warning",
    note: "directory buckets list in no order and know no start-after, which nodes need to read the history",
    advice: "use a general purpose bucket",
  },
  {
    name: "AWS S3",
    host: /\.amazonaws\.com(\.cn)?$/,
    verdict: "info",
    note: `${ATOMIC}; a create that races a delete gets 409 and is repeated`,
  },
  {
    name: "Cloudflare R2",
    host: /\.r2\.cloudflarestorage\.com$/,
    verdict: "info",
    note: `${ATOMIC}; many writes of one key at a time are answered with 429, which an election takes for a lost race or repeats. The region is "auto"`,
  },
  {
    name: "Google Cloud Storage",
    host: /(^|\.)storage\.googleapis\.com$/,
    verdict: "warning",
    note: "its S3 interface takes If-None-Match and ignores it, so two nodes could both create an epoch; one object takes about one write a second",
    advice: "use another store",
  },
  {
    name: "Azure Blob Storage",
    host: /\.blob\.core\.windows\.net$/,
    verdict: "warning",
    note: "it has its own interface, not that of S3",
    advice: "use another store",
  },
  {
    name: "Backblaze B2",
    host: /\.backblazeb2\.com$/,
    verdict: "warning",
    note: "it answers 501 to If-None-Match, so no node could create an epoch",
    advice: "use another store",
  },
  {
    name: "Tigris",
    host: /(^|\.)(tigris\.dev|storage\.dev)$/,
    verdict: "warning",
    note: "reads are consistent across regions only with the header X-Tigris-Consistent: true, which is not sent",
    advice: "run all nodes in one region",
  },
  {
    name: "CoreWeave",
    host: /(^|\.)(cwobject\.com|cwlota\.com|coreweave\.com)$/,
    verdict: "info",
    note: `${ATOMIC}; the losers of a race get 409 instead of 412`,
  },
  { name: "Hetzner", host: /\.your-objectstorage\.com$/, verdict: "info", note: ATOMIC },
  { name: "DigitalOcean Spaces", host: /\.digitaloceanspaces\.com$/, verdict: "info", note: ATOMIC },
  { name: "Scaleway", host: /\.scw\.cloud$/, verdict: "info", note: ATOMIC },
];

const UNKNOWN =
  "not known by its address. MinIO and Ceph RGW have an atomic create; SeaweedFS 4.16, older versitygw, moto and s3rver have not";

/** @param url of the store, as it names itself */
export function providerFinding(url: string): DoctorFinding {
  const { protocol, host, bucket } = parts(url);
  if (protocol === "memory:") return note("memory", "in this process's memory: nothing survives it");
  if (protocol === "file:") {
    const found =
      "a directory: for any number of processes of this machine; for those of several only where hard links are atomic across them";
    return note("file system", found);
  }
  if (protocol !== "s3:") return note(undefined, "a store of your own");
  const provider = PROVIDERS.find((known) => known.host.test(host) && (known.bucket?.test(bucket) ?? true));
  if (provider === undefined) return note(undefined, UNKNOWN);
  const finding = note(provider.name, `${provider.name}: ${provider.note}`);
  if (provider.verdict === "info") return finding;
  const meaning = "this is what is known about it; what the checks find counts";
  return { ...finding, verdict: provider.verdict, meaning, advice: provider.advice };
}

function parts(url: string): { protocol: string; host: string; bucket: string } {
  if (!URL.canParse(url)) return { protocol: "", host: "", bucket: "" };
  const { protocol, hostname, searchParams } = new URL(url);
  const endpoint = searchParams.get("endpoint") ?? "";
  // Without an endpoint an S3 store is AWS in its region.
  const host = URL.canParse(endpoint) ? new URL(endpoint).hostname : "s3.amazonaws.com";
  return { protocol, host, bucket: hostname };
}

function note(provider: string | undefined, found: string): DoctorFinding {
  return { check: "provider", verdict: "info", found, measured: { provider } };
}
