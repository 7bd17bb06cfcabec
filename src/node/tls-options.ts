/** TLS as a user configures it, for both ends of a node's connections. */
import { createSecureContext } from "node:tls";
import { z } from "zod";
import { ClusterError, errorMessage } from "../errors.ts";
import type { ClientTls, ServerTls } from "../net/tls.ts";

/** Certificates in PEM text. */
export interface NodeTls {
  /** The node's key … */
  readonly key: string;
  /** … and its certificate, followed by its intermediates. */
  readonly cert: string;
  /** Authorities that sign the nodes' certificates; *default*: the system's. */
  readonly ca?: string | undefined;
  /**
   * Every client must show a certificate that `ca` signed, users and probes too; nodes show their own. *Default* false.
   */
  readonly mutual?: boolean | undefined;
  /** The name in the nodes' certificates, where it is not that of their address. */
  readonly serverName?: string | undefined;
}

const pem = (what: string) =>
  z.string().regex(/-----BEGIN [A-Z ]+-----/, `must be the PEM text of ${what}, not the name of its file`);

export const tlsShape: z.ZodType<NodeTls> = z
  .strictObject({
    key: pem("a private key"),
    cert: pem("a certificate"),
    ca: pem("a certificate").optional(),
    mutual: z.boolean().optional(),
    serverName: z.string().min(1).optional(),
  })
  .refine(({ mutual, ca }) => mutual !== true || ca !== undefined, {
    path: ["ca"],
    message: "mutual TLS needs the authority that signs the clients' certificates",
  });

/**
 * For the listener.
 *
 * @throws ClusterError `invalid` `bad_tls`: what looks like PEM and is none, or a key of another certificate
 */
export function serverTls({ key, cert, ca, mutual }: NodeTls): ServerTls {
  try {
    createSecureContext({ key, cert, ...(ca === undefined ? {} : { ca }) });
  } catch (error) {
    throw new ClusterError(
      "invalid",
      "bad_tls",
      `the option tls cannot be used: ${errorMessage(error)}; key must be the private key of the first certificate in cert, without a passphrase`,
      {},
      { cause: error },
    );
  }
  return { key, cert, ...(mutual === true && ca !== undefined ? { clientCa: ca } : {}) };
}

/** For connections to other nodes. */
export function clientTls({ key, cert, ca, mutual, serverName }: NodeTls): ClientTls {
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(mutual === true ? { key, cert } : {}),
    ...(serverName === undefined ? {} : { serverName }),
  };
}
