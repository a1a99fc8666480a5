/**
 * Backpressured, batched, sharded and durable queues for Effect.
 *
 * @since 0.1.0
 */

/** What happens when a queue is full. @since 0.1.0 */
export * as Backpressure from "./Backpressure.ts"
/** Where the items of a queue wait. @since 0.1.0 */
export * as BackingQueue from "./BackingQueue.ts"
/** What a handler is given. @since 0.1.0 */
export * as Batch from "./Batch.ts"
/** Durable queues whose batches workers claim, retry and settle. @since 0.1.0 */
export * as BatchQueue from "./BatchQueue.ts"
/** Where a durable queue keeps its batches. @since 0.1.0 */
export * as BatchStore from "./BatchStore.ts"
/** What happens to items inside an open batch. @since 0.1.0 */
export * as Buffer from "./Buffer.ts"
/** From items to bytes, and back. @since 0.1.0 */
export * as Codec from "./Codec.ts"
/** What is done about an item that failed. @since 0.1.0 */
export * as Decision from "./Decision.ts"
/** How fast a queue drains. @since 0.1.0 */
export * as DrainRate from "./DrainRate.ts"
/** When an open batch is due. @since 0.1.0 */
export * as FlushPolicy from "./FlushPolicy.ts"
/** Load once, run what waits, save once, answer everybody. @since 0.1.0 */
export * as KeyedBatch from "./KeyedBatch.ts"
/** A bounded queue under a policy. @since 0.1.0 */
export * as PolicyQueue from "./PolicyQueue.ts"
/** The one taxonomy of errors. @since 0.1.0 */
export * as QueueError from "./QueueError.ts"
/** The one vocabulary of events. @since 0.1.0 */
export * as QueueEvent from "./QueueEvent.ts"
/** Every metric. @since 0.1.0 */
export * as QueueMetrics from "./QueueMetrics.ts"
/** What a durable queue asks of its store. @since 0.1.0 */
export * as QueueStore from "./QueueStore.ts"
/** What came of something that never throws. @since 0.1.0 */
export * as Result from "./Result.ts"
/** The default retry schedules. @since 0.1.0 */
export * as Retry from "./Retry.ts"
/** Commands of one key in order, keys in parallel. @since 0.1.0 */
export * as ShardPool from "./ShardPool.ts"
/** From a key to a shard. @since 0.1.0 */
export * as Sharding from "./Sharding.ts"
/** What an offer does when its item is not in. @since 0.1.0 */
export * as Strategy from "./Strategy.ts"
/** Bounded queues that are flushed in batches. @since 0.1.0 */
export * as WriteBehind from "./WriteBehind.ts"
