/**
 * The tools of Sluice's own tests, for tests of your own.
 *
 * @since 0.1.0
 */

/** The laws of stores. @since 0.1.0 */
export * as BatchStoreLaws from "./BatchStoreLaws.ts"
/** A store that fails as planned. @since 0.1.0 */
export * as FaultyStore from "./FaultyStore.ts"
/** The laws of backpressure policies. @since 0.1.0 */
export * as PolicyLaws from "./PolicyLaws.ts"
/** What the built-in policies keep. @since 0.1.0 */
export * as PolicyModel from "./PolicyModel.ts"
/** Whole programs under a seeded schedule. @since 0.1.0 */
export * as SeededRun from "./SeededRun.ts"
/** A scheduler that picks at random from a seed. @since 0.1.0 */
export * as SeededScheduler from "./SeededScheduler.ts"
/** A clock that moves when nothing can run. @since 0.1.0 */
export * as VirtualClock from "./VirtualClock.ts"
