import { ClusterError, errorMessage } from "../errors.ts";
import { type Address, formatAddress } from "./address.ts";

type Explanation = readonly [code: string, wrong: string, remedy: string];

const NOT_AVAILABLE: Explanation = [
  "address_not_available",
  "this machine does not have that address",
  "use one of its own, or 0.0.0.0 for all of them",
];
const HOST_UNKNOWN: Explanation = [
  "host_unknown",
  "the name cannot be resolved",
  "use an IP address of this machine, or 0.0.0.0 for all of them",
];

/** What to say about a failed `listen`, by the system's code: our code, what is wrong, what to do. */
const EXPLANATIONS: Readonly<Record<string, Explanation>> = {
  EADDRINUSE: [
    "address_in_use",
    "another process listens there",
    "end it, choose another port, or use port 0 for any free one",
  ],
  EACCES: [
    "address_forbidden",
    "this user may not listen there",
    "choose a port from 1024 up, or give the process the right to lower ones",
  ],
  EADDRNOTAVAIL: NOT_AVAILABLE,
  // What Deno 2.9.6 says instead of EADDRNOTAVAIL.
  EINVAL: NOT_AVAILABLE,
  ENOTFOUND: HOST_UNKNOWN,
  EAI_AGAIN: HOST_UNKNOWN,
};

/** The error of a listener that could not begin. */
export function listenError(error: unknown, address: Address): ClusterError {
  const systemCode = systemCodeOf(error);
  const [code, wrong, remedy] = EXPLANATIONS[systemCode] ?? ["listen_failed", errorMessage(error), "check the address"];
  const where = formatAddress(address);
  return new ClusterError(
    "invalid",
    code,
    `cannot listen on ${where}: ${wrong}; ${remedy}`,
    { address: where, systemCode },
    { cause: error },
  );
}

function systemCodeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}
