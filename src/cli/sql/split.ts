/** Cuts a text into SQL statements, as far as a shell must know: where one ends. */

/** What a text holds. */
export interface SplitSql {
  /** Statements that ended with a semicolon, without it. */
  readonly statements: readonly string[];
  /** What follows the last semicolon; empty if that is only white space and comments. */
  readonly rest: string;
}

const CLOSING: Readonly<Record<string, string>> = { "'": "'", '"': '"', "`": "`", "[": "]" };

/**
 * Semicolons in texts, names and comments end nothing. The body of a trigger is cut as well, which only reading does
 * not need: https://www.sqlite.org/c3ref/complete.html
 */
export function splitSql(text: string): SplitSql {
  const statements: string[] = [];
  let start = 0;
  let isBlank = true;
  for (let at = 0; at < text.length; ) {
    const character = text.charAt(at);
    const next = endOfToken(text, at);
    if (character === ";") {
      if (!isBlank) statements.push(text.slice(start, at).trim());
      start = next;
      isBlank = true;
    } else if (!/\s/.test(character) && !isComment(text, at)) {
      isBlank = false;
    }
    at = next;
  }
  // A comment or a text that is still open goes on with the next line.
  const rest = text.slice(start);
  return { statements, rest: isBlank && !hasOpenComment(rest) ? "" : rest.trim() };
}

function isComment(text: string, at: number): boolean {
  return text.startsWith("--", at) || text.startsWith("/*", at);
}

function endOfToken(text: string, at: number): number {
  if (text.startsWith("--", at)) return endAfter(text, "\n", at + 2);
  if (text.startsWith("/*", at)) return endAfter(text, "*/", at + 2);
  const closing = CLOSING[text.charAt(at)];
  return closing === undefined ? at + 1 : endAfter(text, closing, at + 1);
}

/** A doubled quote ends one text and begins the next: for where statements end that is the same. */
function endAfter(text: string, mark: string, from: number): number {
  const found = text.indexOf(mark, from);
  return found < 0 ? text.length : found + mark.length;
}

function hasOpenComment(text: string): boolean {
  for (let at = 0; at < text.length; at = endOfToken(text, at)) {
    if (text.startsWith("/*", at) && text.indexOf("*/", at + 2) < 0) return true;
  }
  return false;
}
