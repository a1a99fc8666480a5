/**
 * Accept items for the queues of Sluice over HTTP, and operate and monitor the queues, in an Effect server.
 *
 * @since 0.1.0
 */

/** Lets an operator inspect and control queues. @since 0.1.0 */
export * as Admin from "./Admin.ts"
/** A server that starts and stops gracefully. @since 0.1.0 */
export * as GracefulServer from "./GracefulServer.ts"
/** The errors of a refused request. @since 0.1.0 */
export * as HttpError from "./HttpError.ts"
/** A queue as the server sees it. @since 0.1.0 */
export * as HttpQueue from "./HttpQueue.ts"
/** The queues of a server. @since 0.1.0 */
export * as HttpQueues from "./HttpQueues.ts"
/** Accepts items. @since 0.1.0 */
export * as Ingest from "./Ingest.ts"
/** Effect's metrics as the text that Prometheus scrapes. @since 0.1.0 */
export * as Prometheus from "./Prometheus.ts"
/** The description for `HttpApi`. @since 0.1.0 */
export * as SluiceApi from "./SluiceApi.ts"
/** Metrics and health. @since 0.1.0 */
export * as Watch from "./Watch.ts"
