import { networkInterfaces } from "node:os";
import { ClusterError } from "../errors.ts";

/** Where a node listens or is reached. */
export interface Address {
  /** A name or an IP address, IPv6 without brackets. */
  readonly host: string;
  /** 0 to 65535; 0 asks the machine for a free one. */
  readonly port: number;
}

/** The fields of `node:os`' interface list that the choice needs. */
export type NetworkInterfaces = Readonly<
  Record<
    string,
    readonly { readonly address: string; readonly family: string; readonly internal: boolean }[] | undefined
  >
>;

/** What `:80` and a bare `80` listen on: every IPv4 interface. */
const UNSPECIFIED_HOST = "0.0.0.0";
const UNSPECIFIED_HOSTS: readonly string[] = ["", "0.0.0.0", "::", "0:0:0:0:0:0:0:0"];
const PORT_MAX = 65535;

const BARE_PORT = /^:?(\d{1,5})$/;
const BRACKETED = /^\[([0-9A-Fa-f:.%\w]+)\]:(\d{1,5})$/;
const HOST_AND_PORT = /^([^\s:/[\]@?#]+):(\d{1,5})$/;

/** Bridges of container and virtual machine tools: the same private address on every machine, reachable from none. */
const VIRTUAL_INTERFACE = /^(docker|br-|veth|virbr|cni|flannel|lxc|lxd|podman|vbox|vmnet)/;

/**
 * Reads `HOST:PORT`, `[IPV6]:PORT`, `:PORT` or a bare port; the last two mean every interface.
 *
 * @throws ClusterError `invalid` `bad_address`
 */
export function parseAddress(text: string): Address {
  const bare = BARE_PORT.exec(text);
  if (bare) return { host: UNSPECIFIED_HOST, port: parsePort(bare[1], text) };
  const match = BRACKETED.exec(text) ?? HOST_AND_PORT.exec(text);
  const host = match?.[1];
  if (match === null || host === undefined) throw badAddress(text, explainBadAddress(text));
  return { host, port: parsePort(match[2], text) };
}

/** `host:port`, with brackets around IPv6. */
export function formatAddress(address: Address): string {
  const { host, port } = address;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * The address that other machines should use for a node that listens on `host` and `port`. A host that means
 * "every interface" is replaced by the machine's best address: IPv4 before IPv6, real interfaces before virtual
 * bridges, 127.0.0.1 if there is none.
 */
export function advertisedAddress(host: string, port: number, interfaces?: NetworkInterfaces): string {
  if (!UNSPECIFIED_HOSTS.includes(host)) return formatAddress({ host, port });
  let best = { host: "127.0.0.1", rank: 0 };
  for (const [name, addresses] of Object.entries(interfaces ?? networkInterfaces())) {
    for (const { address, family, internal } of addresses ?? []) {
      const rank = internal ? 0 : reachabilityRank(name, address, family);
      if (rank > best.rank) best = { host: address, rank };
    }
  }
  return formatAddress({ host: best.host, port });
}

function reachabilityRank(interfaceName: string, address: string, family: string): number {
  // An address of the link alone needs a scope (`%eth0`) that only this machine knows.
  if (address.startsWith("fe80:") || address.startsWith("169.254.")) return 0;
  if (family !== "IPv4") return 1;
  return VIRTUAL_INTERFACE.test(interfaceName) ? 2 : 3;
}

function parsePort(digits: string | undefined, text: string): number {
  const port = Number(digits);
  if (!(port <= PORT_MAX)) throw badAddress(text, `the port is above ${PORT_MAX}`);
  return port;
}

function explainBadAddress(text: string): string {
  if (text.includes("://")) return "give it without a scheme";
  if ((text.match(/:/g)?.length ?? 0) > 1) return "an IPv6 address needs brackets, as in [::1]:8080";
  return "expected HOST:PORT, [IPV6]:PORT, :PORT or PORT";
}

function badAddress(text: string, why: string): ClusterError {
  return new ClusterError("invalid", "bad_address", `cannot read the address ${JSON.stringify(text)}: ${why}`, {
    address: text,
  });
}
