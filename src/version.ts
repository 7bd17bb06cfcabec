/** Version of this library; the same in package.json and deno.json. */
export const VERSION = "0.1.0";
