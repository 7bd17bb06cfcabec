/**
 * The Prometheus text format 0.0.4 as its page has it
 * (prometheus.io/docs/instrumenting/exposition_formats), strictly: what a
 * scraper might forgive is an error here.
 */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface MetricFamily {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(?:,(?=[^,])|$)/;
const NUMBER = /^[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)$/;

/** @throws Error that names the line, or the metric */
export function parsePrometheus(text: string): ReadonlyMap<string, MetricFamily> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, MetricFamily & { samples: Sample[] }>();
  let current: (MetricFamily & { samples: Sample[] }) | undefined;
  const lines = text.split("\n").slice(0, -1);
  for (const [index, line] of lines.entries()) {
    const fail = (why: string) => new Error(`line ${index + 1}: ${why}: ${line}`);
    if (line === "" || line.startsWith("# TYPE ")) continue;
    if (line.startsWith("# HELP ")) {
      const [, , name = "", ...help] = line.split(" ");
      const [, , typed, type, ...more] = (lines[index + 1] ?? "").split(" ");
      if (!NAME.test(name)) throw fail("no name");
      if (families.has(name)) throw fail("a second time");
      if (help.join(" ") === "") throw fail("no text");
      if (!lines[index + 1]?.startsWith("# TYPE ") || typed !== name || more.length > 0)
        throw fail("not followed by TYPE");
      if (type !== "counter" && type !== "gauge" && type !== "histogram") throw fail(`type ${type}`);
      current = { name, type, help: help.join(" "), samples: [] };
      families.set(name, current);
      continue;
    }
    if (line.startsWith("#")) throw fail("a comment");
    const [, name = "", labels = "", value = ""] = SAMPLE.exec(line) ?? [];
    if (name === "" || !NUMBER.test(value)) throw fail("not a sample");
    if (current === undefined || !namesOf(current).includes(name)) throw fail("not below its TYPE");
    current.samples.push({
      name,
      labels: parseLabels(labels, fail),
      value: Number(value.replace("Inf", "Infinity")),
    });
  }
  const types = lines.filter((line) => line.startsWith("# TYPE ")).length;
  if (types !== families.size) throw new Error(`${types} TYPE lines for ${families.size} HELP lines`);
  for (const family of families.values()) check(family);
  return families;
}

/** The value of the one sample with this name and exactly these labels; `undefined` if there is none. */
export function sampleValue(
  text: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const key = keyOf({ name, labels, value: 0 });
  for (const { samples } of parsePrometheus(text).values()) {
    const sample = samples.find((candidate) => keyOf(candidate) === key);
    if (sample !== undefined) return sample.value;
  }
  return undefined;
}

function namesOf({ name, type }: MetricFamily): readonly string[] {
  return type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];
}

function parseLabels(text: string, fail: (why: string) => Error): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let rest = text; rest !== ""; ) {
    const [whole = "", name = "", value = ""] = LABEL.exec(rest) ?? [];
    if (whole === "") throw fail(`labels at ${rest}`);
    if (name in labels) throw fail(`label ${name} twice`);
    labels[name] = value.replace(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
    rest = rest.slice(whole.length);
  }
  return labels;
}

function keyOf({ name, labels }: Sample): string {
  return JSON.stringify([name, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

function check(family: MetricFamily): void {
  const { name, type, samples } = family;
  const fail = (why: string) => new Error(`${name}: ${why}`);
  if (new Set(samples.map(keyOf)).size !== samples.length) throw fail("two samples with the same labels");
  const labelNames = (labels: Sample["labels"]) =>
    Object.keys(labels)
      .filter((label) => label !== "le" || type !== "histogram")
      .sort()
      .join();
  if (new Set(samples.map(({ labels }) => labelNames(labels))).size > 1) throw fail("samples differ in their labels");
  if (type === "counter") {
    if (!name.endsWith("_total")) throw fail("a counter's name ends in _total");
    if (samples.some(({ value }) => !(value >= 0))) throw fail("a counter below 0");
  } else if (/_(total|count|sum|bucket)$/.test(name)) throw fail(`not the name of a ${type}`);
  if (type === "histogram") checkHistogram(family, fail);
}

function checkHistogram({ name, samples }: MetricFamily, fail: (why: string) => Error): void {
  const series = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _, ...labels } = sample.labels;
    const key = keyOf({ name: "", labels, value: 0 });
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const of of series.values()) {
    const buckets = of.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => Number(labels["le"]?.replace("Inf", "Infinity")));
    const one = (suffix: string) => of.filter((sample) => sample.name === `${name}_${suffix}`);
    if (one("sum").length !== 1 || one("count").length !== 1) throw fail("a sum and a count, each once");
    if (bounds.some((bound, index) => !(bound > (bounds[index - 1] ?? Number.NEGATIVE_INFINITY))))
      throw fail("bounds do not rise");
    if (bounds.at(-1) !== Number.POSITIVE_INFINITY) throw fail("no bucket +Inf");
    if (buckets.some(({ value }, index) => value < (buckets[index - 1]?.value ?? 0))) throw fail("buckets fall");
    if (buckets.at(-1)?.value !== one("count")[0]?.value) throw fail("the count is not that of +Inf");
  }
}
