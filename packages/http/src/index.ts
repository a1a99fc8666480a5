/**
 * Take items in, operate and watch the queues of Sluice over HTTP, from within an Effect server.
 *
 * @since 0.1.0
 */

/** Lets an operator see and change how queues run. @since 0.1.0 */
export * as Admin from "./Admin.ts"
/** A server that ends well. @since 0.1.0 */
export * as GracefulServer from "./GracefulServer.ts"
/** What a request can be refused with. @since 0.1.0 */
export * as HttpError from "./HttpError.ts"
/** A queue as the server sees it. @since 0.1.0 */
export * as HttpQueue from "./HttpQueue.ts"
/** The queues of a server. @since 0.1.0 */
export * as HttpQueues from "./HttpQueues.ts"
/** Takes items in. @since 0.1.0 */
export * as Ingest from "./Ingest.ts"
/** Effect's metrics as the text that Prometheus scrapes. @since 0.1.0 */
export * as Prometheus from "./Prometheus.ts"
/** The description for `HttpApi`. @since 0.1.0 */
export * as SluiceApi from "./SluiceApi.ts"
/** Metrics and health. @since 0.1.0 */
export * as Watch from "./Watch.ts"
