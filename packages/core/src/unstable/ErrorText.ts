/**
 * What errors say in logs, dead letters and events.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
export { prettyOf, withMessages } from "../internal/fibers/failure.ts"
export { messageOf } from "../internal/shapes/messageOf.ts"
