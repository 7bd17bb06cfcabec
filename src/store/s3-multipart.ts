import { PartReader } from "./put-body.ts";
import { type RetryPolicy, withRetries } from "./retry.ts";
import type { S3Client, S3Request } from "./s3-client.ts";
import type { S3Answer } from "./s3-errors.ts";
import { escapeXml, parseXml, xmlText } from "./s3-xml.ts";
import type { PartSource, PutOutcome } from "./store.ts";

/** S3's limit. */
const PARTS_MAX = 10_000;

const MIB = 1024 * 1024;

const encoder = new TextEncoder();

/** An upload in parts. */
export interface MultipartUpload {
  readonly client: S3Client;
  readonly key: string;
  readonly body: PartSource;
  /** Bytes of a part; more if the body would have too many parts. */
  readonly partBytes: number;
  readonly partsInFlightMax: number;
  /** For single parts: their bytes cannot be read from the body again by repeating the whole put. */
  readonly retry: RetryPolicy;
  /** Asks for a create. Many stores ignore that for uploads in parts, so nothing may rest on it: `lbc doctor` tells. */
  readonly ifAbsent?: boolean;
  readonly signal: AbortSignal | undefined;
}

interface Part {
  readonly number: number;
  readonly etag: string;
}

/** Uploads the body in parts, a few at a time. If that fails, what was uploaded is thrown away. */
export async function uploadInParts(upload: MultipartUpload): Promise<PutOutcome> {
  const uploadId = await create(upload);
  try {
    const parts = await uploadParts(upload, uploadId);
    const outcome = await complete(upload, uploadId, parts);
    if (outcome === "exists") await abandon(upload, uploadId);
    return outcome;
  } catch (error) {
    const cleaning = abandon(upload, uploadId);
    if (!upload.signal?.aborted) await cleaning;
    throw error;
  }
}

/** How large the parts of a body are: S3 takes no more than 10 000. */
export function partBytesFor(byteLength: number, partBytes: number): number {
  return Math.max(partBytes, Math.ceil(byteLength / PARTS_MAX / MIB) * MIB);
}

async function create(upload: MultipartUpload): Promise<string> {
  const request = uploadRequest(upload, { method: "POST", query: { uploads: "" } });
  const answer = await sendOk(upload, request);
  const uploadId = xmlText(parseXml(answer.bytes, "InitiateMultipartUploadResult"), "UploadId");
  if (uploadId === undefined || uploadId === "") throw upload.client.badAnswer(request, "the store names no upload");
  return uploadId;
}

async function uploadParts(upload: MultipartUpload, uploadId: string): Promise<Part[]> {
  const parts: Part[] = [];
  // One reader for all workers: every part is read once and in order, when there is room for it.
  const reader = new PartReader(upload.body, partBytesFor(upload.body.byteLength, upload.partBytes));
  const failed = new AbortController();
  const onAbort = () => failed.abort(upload.signal?.reason);
  upload.signal?.addEventListener("abort", onAbort, { once: true });
  const worker = async () => {
    for (let part = await reader.next(); part !== undefined; part = await reader.next()) {
      failed.signal.throwIfAborted();
      parts.push(await uploadPart(upload, uploadId, part.number, part.bytes, failed.signal));
    }
  };
  try {
    const workers = Array.from({ length: upload.partsInFlightMax }, async () => {
      try {
        await worker();
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    });
    await Promise.all(workers);
  } finally {
    upload.signal?.removeEventListener("abort", onAbort);
  }
  return parts.sort((a, b) => a.number - b.number);
}

async function uploadPart(
  upload: MultipartUpload,
  uploadId: string,
  number: number,
  piece: Uint8Array,
  signal: AbortSignal,
): Promise<Part> {
  const query = { partNumber: String(number), uploadId };
  const request = { ...uploadRequest(upload, { method: "PUT", query }), body: piece, signal };
  const answer = await withRetries(upload.retry, signal, () => sendOk(upload, request));
  const etag = answer.headers.get("etag");
  if (etag === null) throw upload.client.badAnswer(request, `the store names no ETag of part ${number}`);
  return { number, etag };
}

async function complete(upload: MultipartUpload, uploadId: string, parts: readonly Part[]): Promise<PutOutcome> {
  const rows = parts.map(({ number, etag }) => {
    return `<Part><PartNumber>${number}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`;
  });
  const body = encoder.encode(`<CompleteMultipartUpload>${rows.join("")}</CompleteMultipartUpload>`);
  const headers = upload.ifAbsent ? { "if-none-match": "*" } : {};
  const request = { ...uploadRequest(upload, { method: "POST", query: { uploadId } }), headers, body };
  const answer = await upload.client.send(request);
  if (answer.status === 412 && upload.ifAbsent) return "exists";
  if (answer.status !== 200) throw upload.client.failure(request, answer);
  if (parseXml(answer.bytes, "CompleteMultipartUploadResult") !== undefined) return "created";
  // The status is sent before the work is done: a late failure comes with status 200.
  const failed = parseXml(answer.bytes, "Error") !== undefined;
  if (failed) throw upload.client.failure(request, { ...answer, status: 500 });
  throw upload.client.badAnswer(request, "the store does not say that the upload is complete");
}

/** Parts that stay behind cost money. Failing here changes nothing about the outcome. */
async function abandon(upload: MultipartUpload, uploadId: string): Promise<void> {
  const request = { ...uploadRequest(upload, { method: "DELETE", query: { uploadId } }), signal: undefined };
  await upload.client.send(request).catch(() => {});
}

function uploadRequest(upload: MultipartUpload, request: Pick<S3Request, "method" | "query">): S3Request {
  return { action: "put", key: upload.key, signal: upload.signal, ...request };
}

async function sendOk(upload: MultipartUpload, request: S3Request): Promise<S3Answer> {
  const answer = await upload.client.send(request);
  if (answer.status !== 200) throw upload.client.failure(request, answer);
  return answer;
}
