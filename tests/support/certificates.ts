/** Certificates for tests, made by openssl. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** In PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface Authority {
  readonly cert: string;
  /** A certificate for 127.0.0.1, good for servers and clients. */
  issue(name: string): Certificate;
}

const EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** A certificate authority whose files are in `directory`. */
export function makeAuthority(directory: string, name: string): Authority {
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: directory, stdio: "ignore" });
  const pem = (file: string) => readFileSync(join(directory, file), "utf8");
  const constraint = ["-addext", "basicConstraints=critical,CA:TRUE"];
  openssl(
    "req",
    "-x509",
    ...EC_KEY,
    "-keyout",
    `${name}.key`,
    "-out",
    `${name}.pem`,
    "-subj",
    `/CN=${name}`,
    ...constraint,
  );
  return {
    cert: pem(`${name}.pem`),
    issue: (holder) => {
      writeFileSync(join(directory, "san"), "subjectAltName=IP:127.0.0.1");
      openssl("req", ...EC_KEY, "-keyout", `${holder}.key`, "-out", `${holder}.csr`, "-subj", `/CN=${holder}`);
      const signing = ["-CA", `${name}.pem`, "-CAkey", `${name}.key`, "-CAcreateserial", "-extfile", "san"];
      openssl("x509", "-req", "-in", `${holder}.csr`, "-out", `${holder}.pem`, ...signing);
      return { cert: pem(`${holder}.pem`), key: pem(`${holder}.key`) };
    },
  };
}
