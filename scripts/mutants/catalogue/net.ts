/** Who may ask, what a stream may bring, and what becomes of lost requests: src/net, and its users in src/node. */
import { type Edit, type Mutant, mutant } from "../mutant.ts";

const AUTH = { test: "tests/net/auth.test.ts" };
const MAC = { test: "tests/net/stream-mac.test.ts" };
const INTERNAL = { test: "tests/node/internal-auth.test.ts" };
const IMPOSTOR = { test: "tests/node/push-impostor.test.ts" };
const PUSH = { test: "tests/node/push.test.ts" };
const PUBLISHER = { test: "tests/node/publisher.test.ts" };
const CLIENT = { test: "tests/node/leader-client.test.ts" };
const NETWORK = { test: "tests/node/network.test.ts" };
const PEER = { test: "tests/net/peer.test.ts" };
const SIMULATOR = { sim: { seeds: 200 } };

const auth = (find: string, replace: string): Edit => ({ file: "src/net/auth.ts", find, replace });
const publisher = (find: string, replace: string): Edit => ({ file: "src/node/publisher.ts", find, replace });
const exchange = (find: string, replace: string): Edit => ({ file: "src/net/exchange.ts", find, replace });

export const NET_MUTANTS: readonly Mutant[] = [
  mutant(
    "signature-not-checked",
    "P9",
    "A request is let in whatever its signature.",
    auth('return "tampered";', 'if (digits === "") return "tampered";'),
    [AUTH],
  ),
  mutant(
    "replay-is-accepted",
    "P9",
    "A request that was seen before is let in.",
    auth('    if (this.#seen.has(nonce)) return "replayed";\n', ""),
    [AUTH],
  ),
  mutant(
    "window-is-open",
    "P9",
    "A request may have been signed at any time.",
    auth("if (Math.abs(nowMs - signedMs) > this.#windowMs || ", "if ("),
    [AUTH],
  ),
  mutant(
    "forgotten-is-accepted",
    "P9",
    "A request whose nonce was forgotten is let in when the wall clock goes back.",
    auth(" || signedMs <= this.#forgottenThroughMs) return", ") return"),
    [AUTH],
  ),
  mutant(
    "nonces-unbounded",
    "P10",
    "Any number of nonces is remembered.",
    auth('    if (this.#seen.size >= this.#noncesMax) return "full";\n', ""),
    [AUTH],
  ),
  mutant(
    "strangers-are-remembered",
    "P10",
    "Nonces are remembered before the signature is checked.",
    auth(
      "    if (!sameDigest(",
      '    if (this.#seen.size >= this.#noncesMax) return "full";\n    this.#seen.set(signature + date, signedMs);\n    if (!sameDigest(',
    ),
    [AUTH],
  ),
  mutant(
    "receiver-not-signed",
    "P9",
    "A request may be repeated to another node.",
    auth("    parts.to,\n", '    "",\n'),
    [AUTH, INTERNAL],
  ),
  mutant(
    "body-not-signed",
    "P9",
    "The body of a signed request may be exchanged.",
    auth("    nonce,\n    bodyHash,\n", "    nonce,\n"),
    [AUTH],
  ),
  mutant(
    "path-not-signed",
    "P9",
    "The path of a signed request may be exchanged.",
    auth("    canonicalPath(parts.path),\n", "    canonicalPath(parts.path).slice(0, 0),\n"),
    [AUTH],
  ),
  mutant(
    "short-secret",
    "P9",
    "A secret may be so short that it is guessed.",
    auth("if (bytes.length < SECRET_BYTES_MIN) {", "if (bytes.length < 1) {"),
    [AUTH],
  ),
  mutant(
    "member-body-unbounded",
    "P10",
    "The body of a signed request may have any length.",
    auth("readBody(c.req.raw, bodyBytesMax)", "readBody(c.req.raw, bodyBytesMax + Number.MAX_SAFE_INTEGER)"),
    [AUTH],
  ),
  mutant(
    "internal-endpoint-open",
    "P9",
    "One of the internal endpoints asks for no signature.",
    {
      file: "src/node/internal-routes.ts",
      find: "for (const path of paths) routes.use(path, members);",
      replace: "for (const path of paths) if (path !== BARRIER_PATH) routes.use(path, members);",
    },
    [INTERNAL],
  ),
  mutant(
    "misdirected-is-served",
    "P9",
    "A request for another node, or an earlier run of this one, is served.",
    { file: "src/node/apps.ts", find: "if (to !== undefined && to !== node.uuid) {", replace: 'if (to === "") {' },
    [INTERNAL],
  ),
  mutant(
    "leader-app-everywhere",
    "P3",
    "A node that does not lead serves the leader's application.",
    {
      file: "src/node/apps.ts",
      find: "      if (c.var.node.isLeading) return next();\n",
      replace: "      if (c.var.node !== undefined) return next();\n",
    },
    [NETWORK],
  ),
  mutant(
    "frames-not-authenticated",
    "P9",
    "Frames of the stream are taken from anybody.",
    {
      file: "src/node/subscription.ts",
      find: "if (mac.verifyNext(header, body, found)) return;",
      replace: "if (mac.verifyNext(header, body, found) || header.length > 0) return;",
    },
    [IMPOSTOR],
  ),
  mutant(
    "frames-may-be-moved",
    "P9",
    "A frame may be repeated, left out or moved.",
    { file: "src/net/stream-mac.ts", find: "this.#sequence++", replace: "this.#sequence" },
    [MAC],
  ),
  mutant(
    "frames-of-another-stream",
    "P9",
    "A frame of one stream is taken in another.",
    {
      file: "src/net/stream-mac.ts",
      find: '["lbc-stream-v1", nonce, from, to]',
      replace: '["lbc-stream-v1", nonce.slice(0, 0), from, to]',
    },
    [MAC],
  ),
  mutant(
    "push-with-a-hole",
    "P2",
    "A subscriber that is too far behind is pushed epochs that do not continue its own.",
    publisher("if (missed[0]?.epoch === options.epoch + 1) {", "if (missed.length > 0) {"),
    [PUSH],
  ),
  mutant(
    "slow-subscriber-is-kept",
    "P10",
    "What waits for a subscriber that does not read has no limit.",
    publisher("    if (this.#waitingBytes > QUEUE_BYTES_MAX) this.lose();\n", ""),
    [PUBLISHER],
  ),
  mutant(
    "slow-subscribers-are-kept",
    "P10",
    "What waits for all subscribers together has no limit.",
    publisher(
      "    if (waitingBytes <= QUEUED_BYTES_MAX) return;\n    for",
      "    if (waitingBytes >= 0) return;\n    for",
    ),
    [PUBLISHER],
  ),
  mutant(
    "subscribers-unbounded",
    "P10",
    "Any number of members may have a stream.",
    publisher(
      "if (this.#subscribers.size >= SUBSCRIBERS_MAX) {",
      "if (this.#subscribers.size >= Number.POSITIVE_INFINITY) {",
    ),
    [PUBLISHER],
  ),
  mutant(
    "recent-epochs-unbounded",
    "P10",
    "Every epoch is kept for late subscribers.",
    publisher(
      "while (this.#recent.length > RECENT_EPOCHS_MAX || this.#recentBytes > RECENT_BYTES_MAX) {",
      "while (this.#recent.length > Number.MAX_SAFE_INTEGER) {",
    ),
    [PUBLISHER],
  ),
  mutant(
    "pushed-epochs-unbounded",
    "P10",
    "Every pushed epoch is kept until it is applied.",
    {
      file: "src/node/push-buffer.ts",
      find: "|| this.#epochs.size >= EPOCHS_MAX || this.#bytes + wal.length > BYTES_MAX) return;",
      replace: ") return;",
    },
    [PUBLISHER, IMPOSTOR],
  ),
  mutant(
    "lost-request-is-repeated",
    "P6",
    "A request that was sent and lost is sent again, whatever its method.",
    {
      file: "src/node/member-request.ts",
      find: 'return isRepeatable || error.details["sent"] === false;',
      replace: "return isRepeatable || error !== undefined;",
    },
    [SIMULATOR, CLIENT],
  ),
  mutant(
    "lost-connection-is-an-end",
    "P6",
    "An answer that breaks off with its connection counts as whole.",
    exchange(
      "return this.#ended && rstCode === NGHTTP2_NO_ERROR && this.#error === undefined && lengthIsRight;",
      "return (this.#ended || rstCode !== undefined || this.#error !== undefined) && lengthIsRight !== undefined;",
    ),
    [PEER],
  ),
  mutant(
    "sent-is-not-sent",
    "P6",
    "A request that a server may have seen counts as never sent.",
    exchange(
      'return this.errorFor(this.#connection.session.destroyed ? "lost" : "reset", true);',
      'return this.errorFor(this.#connection.session.destroyed ? "lost" : "reset", false);',
    ),
    [PEER, CLIENT],
  ),
];
