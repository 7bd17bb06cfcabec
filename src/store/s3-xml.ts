import { XMLParser, XMLValidator } from "fast-xml-parser";

/** The part of an XML answer below its root element; leaves are text, repeated elements arrays. */
export type XmlNode = string | { readonly [name: string]: XmlNode | readonly XmlNode[] };

/**
 * Entities are left to {@link xmlText}: decoding them in keys only makes a page
 * of 1000 rows twice as fast, and nothing in a document can define new ones.
 */
const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false,
  processEntities: false,
});

const decoder = new TextDecoder();

/** The root element of that name, or `undefined` if the bytes are not one whole such document. */
export function parseXml(bytes: Uint8Array, rootName: string): XmlNode | undefined {
  // Servers that need long send spaces meanwhile.
  const text = decoder.decode(bytes).trim();
  // The parser takes a document that was cut off for a complete one, and any closing tag for the one that is due.
  const isWhole = text.endsWith(`</${rootName}>`) || new RegExp(`<${rootName}(\\s[^<>]*)?/>$`).test(text);
  if (!isWhole || XMLValidator.validate(text) !== true) return undefined;
  try {
    return (parser.parse(text) as Record<string, XmlNode>)[rootName];
  } catch {
    return undefined;
  }
}

/** The text of a child element, entities decoded; `undefined` if there is none. */
export function xmlText(node: XmlNode | undefined, name: string): string | undefined {
  if (node === undefined || typeof node === "string") return undefined;
  const child = node[name];
  return typeof child === "string" ? decodeEntities(child) : undefined;
}

/** The children of that name, none being an empty list. */
export function xmlChildren(node: XmlNode | undefined, name: string): readonly XmlNode[] {
  if (node === undefined || typeof node === "string") return [];
  const child = node[name];
  if (child === undefined) return [];
  return Array.isArray(child) ? (child as readonly XmlNode[]) : [child as XmlNode];
}

/** Text as it may stand inside an element. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const NAMED_ENTITIES: ReadonlyMap<string, string> = new Map(
  Object.entries({ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" }),
);

function decodeEntities(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#x([0-9a-fA-F]{1,6})|#([0-9]{1,7})|([a-z]+));/g, (whole, hex, decimal, name) => {
    if (name !== undefined) return NAMED_ENTITIES.get(name) ?? whole;
    const codePoint = hex === undefined ? Number.parseInt(decimal, 10) : Number.parseInt(hex, 16);
    return codePoint <= 0x10ffff ? String.fromCodePoint(codePoint) : whole;
  });
}
