import { ClusterError } from "../errors.ts";

/** Where a bucket is reached. */
export interface S3AddressOptions {
  readonly bucket: string;
  readonly region: string;
  readonly endpoint: string | undefined;
  readonly pathStyle: boolean | undefined;
}

const BUCKET_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/;
const REGION_NAME = /^[A-Za-z0-9-]{1,64}$/;

/** Makes the URLs of a bucket's objects. */
export class S3Address {
  /** The store as `openStore` takes it, without credentials. */
  readonly url: string;
  readonly #base: string;

  /** @throws ClusterError `invalid`/`bad_store_url` */
  constructor(options: S3AddressOptions) {
    const { bucket, region } = options;
    if (!BUCKET_NAME.test(bucket)) throw badAddress("not a bucket name", { bucket });
    if (!REGION_NAME.test(region)) throw badAddress("not a region name", { region });
    const endpoint = parseEndpoint(options.endpoint ?? `https://s3.${region}.amazonaws.com`);
    // Certificates for *.s3.… do not cover a bucket name with dots in it.
    const pathStyle = options.pathStyle ?? (options.endpoint !== undefined || bucket.includes("."));
    const path = endpoint.pathname.replace(/\/+$/, "");
    this.#base = pathStyle
      ? `${endpoint.protocol}//${endpoint.host}${path}/${bucket}`
      : `${endpoint.protocol}//${bucket}.${endpoint.host}${path}`;
    const query = new URLSearchParams({ region });
    if (options.endpoint !== undefined) query.set("endpoint", `${endpoint.origin}${path}`);
    if (options.pathStyle !== undefined) query.set("pathStyle", String(options.pathStyle));
    this.url = `s3://${bucket}?${query}`;
  }

  /** The URL of an object, or of the bucket for an empty key. */
  of(key: string, query: Readonly<Record<string, string>> = {}): string {
    const path = key.split("/").map(encode).join("/");
    const parameters = Object.entries(query).map(([name, value]) => `${encode(name)}=${encode(value)}`);
    return `${this.#base}/${path}${parameters.length === 0 ? "" : `?${parameters.join("&")}`}`;
  }
}

/**
 * RFC 3986's unreserved characters stay, all else is percent-encoded: what is
 * sent is then letter for letter what the signature covers
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html).
 */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => {
    return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  });
}

function parseEndpoint(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw badAddress("the endpoint is not a URL, e.g. https://s3.example.com", {});
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw badAddress("the endpoint is neither https: nor http:", { protocol: url.protocol });
  }
  if (url.username !== "" || url.password !== "") {
    throw badAddress("the endpoint must not hold credentials; give them as an option or in the environment", {});
  }
  if (url.search !== "" || url.hash !== "") throw badAddress("the endpoint must not have a query or fragment", {});
  return url;
}

function badAddress(reason: string, details: Record<string, string>): ClusterError {
  const values = Object.values(details).map((value) => ` ${JSON.stringify(value)}`);
  return new ClusterError(
    "invalid",
    "bad_store_url",
    `cannot address the S3 store: ${reason}${values.join("")}`,
    details,
  );
}
