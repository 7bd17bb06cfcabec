/**
 * What tests of stores and of cluster applications need.
 *
 * @module
 */
export * from "./checkers/mod.ts";
export * from "./faulty-store.ts";
export * from "./simulator/mod.ts";
export * from "./store-conformance.ts";
