import { describe, expect, it } from "vitest";
import { ClusterError } from "../../src/errors.ts";
import { advertisedAddress, formatAddress, parseAddress } from "../../src/net/address.ts";

describe("parseAddress", () => {
  const good: [string, string, number][] = [
    ["127.0.0.1:80", "127.0.0.1", 80],
    ["example.org:65535", "example.org", 65535],
    ["[::1]:80", "::1", 80],
    ["[fe80::1%eth0]:80", "fe80::1%eth0", 80],
    [":80", "0.0.0.0", 80],
    ["8080", "0.0.0.0", 8080],
    ["0.0.0.0:0", "0.0.0.0", 0],
  ];
  for (const [text, host, port] of good) {
    it(`reads ${text}`, () => expect(parseAddress(text)).toEqual({ host, port }));
  }

  const bad = [
    "",
    "host",
    "host:",
    "host:65536",
    "host:-1",
    "host:8o",
    "::1:80",
    "[::1]",
    "[]:1",
    "http://h:1",
    "a b:1",
  ];
  for (const text of [...bad, "h:1/x", "user@h:1", "123456"]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseAddress(text)).toThrow(ClusterError);
      expect(() => parseAddress(text)).toThrow(expect.objectContaining({ kind: "invalid", code: "bad_address" }));
    });
  }

  it("reads what formatAddress writes", () => {
    for (const address of [
      { host: "::1", port: 1 },
      { host: "h", port: 2 },
    ]) {
      expect(parseAddress(formatAddress(address))).toEqual(address);
    }
  });
});

describe("advertisedAddress", () => {
  const loopback = { address: "127.0.0.1", family: "IPv4", internal: true };
  const lan = { address: "192.168.1.5", family: "IPv4", internal: false };
  const bridge = { address: "172.17.0.1", family: "IPv4", internal: false };
  const global6 = { address: "2001:db8::5", family: "IPv6", internal: false };
  const link6 = { address: "fe80::5", family: "IPv6", internal: false };

  it("keeps a host that says where", () => {
    expect(advertisedAddress("10.1.2.3", 80, { eth0: [lan] })).toBe("10.1.2.3:80");
    expect(advertisedAddress("::1", 80, { eth0: [lan] })).toBe("[::1]:80");
  });

  it("prefers IPv4 of a real interface, then of a bridge, then IPv6, then loopback", () => {
    const all = { lo: [loopback], docker0: [bridge], eth0: [link6, global6, lan] };
    expect(advertisedAddress("0.0.0.0", 80, all)).toBe("192.168.1.5:80");
    expect(advertisedAddress("::", 80, { ...all, eth0: [link6, global6] })).toBe("172.17.0.1:80");
    expect(advertisedAddress("", 80, { lo: [loopback], eth0: [link6, global6] })).toBe("[2001:db8::5]:80");
    expect(advertisedAddress("0.0.0.0", 80, { lo: [loopback], eth0: [link6] })).toBe("127.0.0.1:80");
  });

  it("knows this machine's interfaces", () => {
    expect(parseAddress(advertisedAddress("0.0.0.0", 80)).port).toBe(80);
  });
});
