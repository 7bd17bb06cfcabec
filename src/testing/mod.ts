/**
 * What tests of stores and of cluster applications need.
 *
 * @module
 */
export * from "./faulty-store.ts";
export * from "./store-conformance.ts";
