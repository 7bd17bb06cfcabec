import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
// Inside the repository, so that the packages are found.
const directory = mkdtempSync(join(ROOT, "node_modules", ".readme-"));
afterAll(() => rmSync(directory, { recursive: true }));

const readme = readFileSync(join(ROOT, "README.md"), "utf8");
const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
const importsOf = (block: string) => block.split("\n").filter((line) => line.startsWith("import "));
const bodyOf = (block: string) =>
  block
    .split("\n")
    .filter((line) => !line.startsWith("import "))
    .join("\n");

function run(args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: directory, encoding: "utf8" });
  expect(`${stdout}${stderr}`.trim() === "" || status === 0 ? "" : `${stdout}${stderr}`).toBe("");
  return stdout;
}

it("every TypeScript block of the README compiles", () => {
  expect(blocks.length).toBeGreaterThanOrEqual(4);
  const [first = "", ...rest] = blocks;
  const scoped = rest.map((block) => `{\n${bodyOf(block)}\n}`);
  const program = [...new Set(blocks.flatMap(importsOf)), bodyOf(first), ...scoped].join("\n");
  writeFileSync(join(directory, "readme.ts"), program);
  const paths = {
    littlebigcluster: [join(ROOT, "src", "mod.ts")],
    "littlebigcluster/testing": [join(ROOT, "src", "testing", "mod.ts")],
  };
  const compilerOptions = {
    paths,
    noEmit: true,
    typeRoots: [join(ROOT, "node_modules/@types")],
    noUnusedLocals: false,
  };
  writeFileSync(
    join(directory, "tsconfig.json"),
    JSON.stringify({ extends: join(ROOT, "tsconfig.json"), compilerOptions, include: [], files: ["readme.ts"] }),
  );
  run([join(ROOT, "node_modules/typescript/bin/tsc"), "-p", "."]);
});

it("the first block of the README runs and prints what it says", () => {
  const program = (blocks[0] ?? "").replaceAll('"littlebigcluster"', JSON.stringify(join(ROOT, "src", "mod.ts")));
  writeFileSync(join(directory, "first.mts"), `${program}\nawait node.shutdown();\n`);
  const output = run(["--import", "tsx", "first.mts"]);
  expect(output).toContain("job 1 is durable with epoch 2");
  expect(output).toContain("name: 'lol'");
});
