/** PEM text, one or more blocks. */
export type Pem = string;

/** TLS of a listener. */
export interface ServerTls {
  readonly key: Pem;
  /** The certificate, followed by its intermediates. */
  readonly cert: Pem;
  /** Authorities that sign clients' certificates: given, every client must show one (mutual TLS). */
  readonly clientCa?: Pem;
}

/** TLS of a client. */
export interface ClientTls {
  /** Authorities that may have signed the server's certificate; *default*: the system's. */
  readonly ca?: Pem;
  /** Our own certificate and its key, for mutual TLS. */
  readonly cert?: Pem;
  readonly key?: Pem;
  /** The name in the server's certificate, where it differs from the address. */
  readonly serverName?: string;
}
