/** JSON over HTTP/1.1, never sent twice: who has no answer does not know what became of the request. */
import { type Agent, request } from "node:http";

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** The request certainly did not reach an application: nobody listens there, or the library said that there is none yet. */
export class NotServedError extends Error {
  override readonly name = "NotServedError";
}

/** @throws NotServedError; Error if there is no whole answer in time, or it is not 200 */
export async function postJson(url: string, body: unknown, timeoutMs: number, agent: Agent): Promise<unknown> {
  return await exchange(url, "POST", JSON.stringify(body), timeoutMs, agent);
}

/** The same without a body. */
export async function getJson(url: string, timeoutMs: number, agent: Agent): Promise<unknown> {
  return await exchange(url, "GET", "", timeoutMs, agent);
}

async function exchange(url: string, method: string, body: string, timeoutMs: number, agent: Agent): Promise<unknown> {
  const text = await new Promise<string>((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const outgoing = request(url, { method, headers, agent }, (answer) => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      answer.on("data", (piece: Buffer) => {
        bytes += piece.length;
        if (bytes > ANSWER_BYTES_MAX) outgoing.destroy(new Error("the answer is too long"));
        pieces.push(piece);
      });
      answer.on("error", reject);
      answer.on("end", () => {
        clearTimeout(timer);
        const whole = Buffer.concat(pieces).toString();
        if (answer.statusCode === 200 && answer.complete) resolve(whole);
        else reject(failedAnswer(answer.statusCode, whole));
      });
    });
    const timer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    outgoing.on("error", (error) => {
      clearTimeout(timer);
      const isRefused = (error as { code?: string }).code === "ECONNREFUSED";
      reject(isRefused ? new NotServedError(error.message) : error);
    });
    outgoing.on("close", () => {
      clearTimeout(timer);
      reject(new Error("the connection was closed"));
    });
    outgoing.end(body);
  });
  return JSON.parse(text);
}

/** What a node answers before it has joined. */
const JOINING = "the node is joining the cluster";

function failedAnswer(status: number | undefined, text: string): Error {
  const message = `HTTP ${status}: ${text.slice(0, 300)}`;
  return status === 503 && text.includes(JOINING) ? new NotServedError(message) : new Error(message);
}
