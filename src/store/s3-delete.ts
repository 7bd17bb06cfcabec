import { ClusterError } from "../errors.ts";
import { contentMd5, type S3Client, type S3Request } from "./s3-client.ts";
import { escapeXml, parseXml, type XmlNode, xmlChildren, xmlText } from "./s3-xml.ts";

/** Failed keys that an error names; it counts them all. */
const FAILURES_NAMED_MAX = 10;

/** Per-key failures that a repetition may mend. */
const TRANSIENT_CODES = new Set([
  "InternalError",
  "SlowDown",
  "ServiceUnavailable",
  "RequestTimeout",
  "OperationAborted",
]);

const encoder = new TextEncoder();

/** Deletes up to 1000 objects with one DeleteObjects request. */
export async function deleteBatch(
  client: S3Client,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const rows = keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`);
  const body = encoder.encode(`<Delete><Quiet>true</Quiet>${rows.join("")}</Delete>`);
  const request: S3Request = {
    action: "delete",
    method: "POST",
    key: "",
    subject: keys[0] ?? "",
    query: { delete: "" },
    headers: { "content-md5": contentMd5(body), "content-type": "application/xml" },
    body,
    signal,
  };
  const answer = await client.send(request);
  if (answer.status !== 200) throw client.failure(request, answer);
  const result = parseXml(answer.bytes, "DeleteResult");
  if (result === undefined) throw client.badAnswer(request, "the store does not say what was deleted");
  const failures = xmlChildren(result, "Error").filter((failure) => xmlText(failure, "Code") !== "NoSuchKey");
  if (failures.length > 0) throw failedKeys(client, request, failures, keys.length);
}

function failedKeys(client: S3Client, request: S3Request, failures: readonly XmlNode[], asked: number): ClusterError {
  const codes = failures.map((failure) => xmlText(failure, "Code") ?? "unknown");
  const isTransient = codes.every((code) => TRANSIENT_CODES.has(code));
  const failed = failures.slice(0, FAILURES_NAMED_MAX).map((failure, index) => {
    return { key: xmlText(failure, "Key"), s3Code: codes[index] };
  });
  const reason = `${failures.length} of ${asked} objects were not deleted, the first with ${codes[0]}`;
  const { message, details } = client.badAnswer(request, reason);
  const [kind, code] = isTransient
    ? (["unavailable", "store_failed"] as const)
    : (["invalid", "store_denied"] as const);
  return new ClusterError(kind, code, message, { ...details, failedCount: failures.length, failed });
}
