/**
 * littlebigcluster: a replicated SQLite in every node of a cluster, with an
 * object store as the only dependency.
 *
 * @module
 */
export type { Cancel, Clock } from "./base/clock.ts";
export type { Log, LogEvent, LogLevel } from "./base/log.ts";
export type { Random } from "./base/random.ts";
export { LittleBigCluster } from "./cluster.ts";
export type { ClusterOptions, OpenEndpoint, RequestBudget, SnapshotOptions } from "./config.ts";
export { ClusterError, type ErrorKind, isClusterError } from "./errors.ts";
export type { Leader } from "./format/system-rows.ts";
export type { VerifyOptions } from "./history/cluster-history.ts";
export type { RowChange, RowKey } from "./history/diff.ts";
export type { Exported, ExportOptions } from "./history/export.ts";
export type { Forked, ForkOptions } from "./history/fork.ts";
export type { InitOptions } from "./history/init.ts";
export type { EpochRecord, HistoryOptions } from "./history/log.ts";
export type { OpenAtOptions, PastDb } from "./history/past.ts";
export type { HistoryExtent, Point } from "./history/point.ts";
export type { ByteProgress, LongCallOptions } from "./history/progress.ts";
export type { JoinProgress } from "./history/restore.ts";
export type { VacuumReport } from "./history/retention.ts";
export type { EpochSpan, Finding, Problem, VerifyProgress, VerifyReport } from "./history/verify-report.ts";
export { type NodeApps, type NodeEnv, notLeading, statusOf, type UserApp } from "./node/apps.ts";
export type { Ack, DurableEpoch } from "./node/batch.ts";
export { clusterAuth } from "./node/cluster-auth.ts";
export type { JoinOptions } from "./node/join.ts";
export type { MemberFetch, MemberRequestInit } from "./node/member-request.ts";
export type { ClusterNode, NodeDb } from "./node/node.ts";
export type { RoleClient, RoleClientOptions } from "./node/role-client.ts";
export type { Rollback, RollbackOptions } from "./node/rollback.ts";
export type { NodeStatus } from "./node/status.ts";
export type { SyncLevel } from "./node/syncing.ts";
export type { NodeTls } from "./node/tls-options.ts";
export type { WaitOptions } from "./node/waiting.ts";
export type { Watch } from "./platform/watch.ts";
export type { Member, Role } from "./protocol/roster.ts";
export type { Db, Reads } from "./sqlite/reader.ts";
export type { Row } from "./sqlite/statement.ts";
export type { SqlParam, SqlParams, SqlValue } from "./sqlite/values.ts";
export type { RunResult, Transaction } from "./sqlite/writer.ts";
export { FileSystemStore, type FileSystemStoreOptions } from "./store/file-system-store.ts";
export { MemoryStore, type MemoryStoreOptions } from "./store/memory-store.ts";
export {
  MeteredStore,
  type MeteredStoreOptions,
  type MeterSnapshot,
  type ObservedRequest,
  type RequestCounts,
  type RequestKind,
  type RequestPrices,
} from "./store/metered-store.ts";
export { openStore } from "./store/open-store.ts";
export { PrefixStore } from "./store/prefix-store.ts";
export { RetryingStore, type RetryingStoreOptions } from "./store/retrying-store.ts";
export type { S3Credentials, S3CredentialsProvider } from "./store/s3-credentials.ts";
export { S3Store, type S3StoreOptions } from "./store/s3-store.ts";
export type {
  CallOptions,
  GetOptions,
  ListOptions,
  ListPage,
  ObjectInfo,
  ObjectStat,
  ObjectStore,
  PartSource,
  PutBody,
  PutOptions,
  PutOutcome,
  StoredObject,
} from "./store/store.ts";
export { VERSION } from "./version.ts";
