/** As much of S3 as large objects are written with. */
import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { ObjectStore, PartSource } from "../../src/mod.ts";

/** Serves a bucket named `bucket` whose objects go to `store`; gives the port. */
export async function serveUploads(store: ObjectStore): Promise<number> {
  /** Parts by upload and number. */
  const uploads = new Map<string, Map<number, Uint8Array>>();
  const answer = async (request: IncomingMessage): Promise<string> => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://localhost");
    const key = decodeURIComponent(pathname).replace("/bucket/", "");
    const body = await bodyOf(request);
    const uploadId = searchParams.get("uploadId");
    if (searchParams.has("uploads")) {
      const made = String(uploads.size);
      uploads.set(made, new Map());
      return `<InitiateMultipartUploadResult><UploadId>${made}</UploadId></InitiateMultipartUploadResult>`;
    }
    if (uploadId === null) {
      await store.put(key, body);
      return "";
    }
    const parts = uploads.get(uploadId) ?? new Map<number, Uint8Array>();
    if (request.method === "PUT") {
      parts.set(Number(searchParams.get("partNumber")), body);
      return "";
    }
    uploads.delete(uploadId);
    await store.put(key, joined(parts));
    return "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>";
  };
  const server = createServer((request, response) => {
    answer(request).then(
      (text) => response.setHeader("etag", '"1"').end(text),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of request) pieces.push(piece as Uint8Array);
  return Buffer.concat(pieces);
}

/** The parts in the order of their numbers as one body, which is not copied together: that would keep others waiting. */
function joined(parts: ReadonlyMap<number, Uint8Array>): PartSource {
  const pieces = [...parts].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
  const partBytes = pieces[0]?.length ?? 0;
  return {
    byteLength: pieces.reduce((sum, { length }) => sum + length, 0),
    // The parts are whole mebibytes, and so is what is asked for.
    read: (offset, length) => {
      const start = offset % partBytes;
      return (pieces[Math.floor(offset / partBytes)] as Uint8Array).subarray(start, start + length);
    },
  };
}
