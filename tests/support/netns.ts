/** Network namespaces: a node on a machine of its own, whose cable a test can pull. Linux, as root, with iproute2. */
import { execFileSync } from "node:child_process";
import process from "node:process";
import { onTestFinished } from "vitest";

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
}

let subnets = 0;

/** A namespace with one cable to the machine's own network. */
export class NetworkNamespace {
  /** Of the machine at the near end of the cable. */
  readonly nearHost: string;
  /** Of the namespace. */
  readonly farHost: string;
  /** Runs a command inside. */
  readonly prefix: readonly string[];
  readonly #name: string;
  readonly #nearLink: string;
  readonly #farLink: string;

  private constructor(name: string, subnet: string) {
    this.#name = name;
    this.#nearLink = `${name}n`;
    this.#farLink = `${name}f`;
    this.nearHost = `${subnet}.1`;
    this.farHost = `${subnet}.2`;
    this.prefix = ["ip", "netns", "exec", name];
  }

  /** A new one, gone when the test ends; `undefined` where the machine does not allow it. */
  static open(): NetworkNamespace | undefined {
    // Names of links have at most 15 characters.
    const name = `lbc${process.pid % 100_000}x${Math.floor(Math.random() * 1000)}`;
    // One of the subnets for tests, RFC 2544 appendix C.2.2.
    subnets++;
    const subnet = `198.${18 + (process.pid % 2)}.${(process.pid + subnets) % 250}`;
    const namespace = new NetworkNamespace(name, subnet);
    try {
      namespace.#make();
    } catch {
      namespace.#remove();
      return undefined;
    }
    onTestFinished(() => namespace.#remove());
    return namespace;
  }

  /** The cable is pulled at the far end: packets go nowhere, and no connection is told. */
  cut(): void {
    ip("-n", this.#name, "link", "set", this.#farLink, "down");
    // Else it takes long until the machine finds out that it does not know any more where the host is.
    ip("neigh", "flush", "dev", this.#nearLink);
  }

  heal(): void {
    ip("-n", this.#name, "link", "set", this.#farLink, "up");
  }

  #make(): void {
    const farLink = this.#farLink;
    ip("netns", "add", this.#name);
    ip("link", "add", this.#nearLink, "type", "veth", "peer", "name", farLink);
    ip("link", "set", farLink, "netns", this.#name);
    ip("addr", "add", `${this.nearHost}/24`, "dev", this.#nearLink);
    ip("link", "set", this.#nearLink, "up");
    ip("-n", this.#name, "addr", "add", `${this.farHost}/24`, "dev", farLink);
    ip("-n", this.#name, "link", "set", farLink, "up");
    ip("-n", this.#name, "link", "set", "lo", "up");
  }

  #remove(): void {
    for (const args of [
      ["link", "del", this.#nearLink],
      ["netns", "del", this.#name],
    ]) {
      try {
        ip(...args);
      } catch {
        // It was not made.
      }
    }
  }
}
