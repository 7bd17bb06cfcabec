import { ClusterError } from "../errors.ts";

const ORIGIN = "http://localhost";

/** Paths that URL parsing leaves as they are, told without it: no segment begins with a dot, no character needs care. */
const PLAIN_PATH = /^(?:\/(?:[\w~!$&'()*+,;=:@-][\w~!$&'()*+,;=:@.-]*)?)+(?:\?[\w~!$&()*+,;=:@./?%-]*)?$/;

/**
 * The path and query of a request as every server sees them: dot segments resolved, characters that a URL may not
 * hold percent-encoded. Applying it twice changes nothing. Client, signer and verifier all use it, so that they mean
 * the same bytes.
 *
 * @throws ClusterError `invalid` `bad_path` if it does not begin with `/`
 */
export function canonicalPath(path: string): string {
  if (PLAIN_PATH.test(path)) return path;
  // Joined as text: resolved against a base, `//host/x` would name another host.
  if (!path.startsWith("/") || !URL.canParse(ORIGIN + path)) {
    throw new ClusterError("invalid", "bad_path", "a request's path must begin with / and be a valid URL path");
  }
  return new URL(ORIGIN + path).href.slice(ORIGIN.length);
}

/** The canonical path and query of a request's URL. */
export function pathOfUrl(url: string): string {
  const afterScheme = url.indexOf("://") + 3;
  const start = url.indexOf("/", afterScheme);
  return start === -1 ? "/" : canonicalPath(url.slice(start));
}
