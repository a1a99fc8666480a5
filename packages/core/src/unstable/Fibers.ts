/**
 * The primitives that the loops of all systems are built from.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
export { awaitAllWithin } from "../internal/fibers/alarm.ts"
export { Bell } from "../internal/fibers/bell.ts"
export { Breaks, makeBreaks } from "../internal/fibers/breaks.ts"
export { Call, type OnInterrupt, type Restore } from "../internal/fibers/call.ts"
export {
  awaitEnd,
  clockOf,
  contextOf,
  currentContext,
  interrupt,
  interruptAll,
  interruptNow,
  join,
  observe,
  pollExit,
  readRef,
  refOf,
  type Running,
  withFiber
} from "../internal/fibers/fiber.ts"
export {
  type Fork,
  forkIn,
  forkInterruptible,
  forkScoped,
  forkUninterruptible,
  inFiberOfItsOwn,
  makeFork,
  type Refs,
  refsOf,
  runAs,
  runNow,
  runSync
} from "../internal/fibers/forking.ts"
export { forkLoop, Lifecycle } from "../internal/fibers/lifecycle.ts"
export { park } from "../internal/fibers/parking.ts"
export { Timekeeper } from "../internal/fibers/timekeeper.ts"
export { isTracing, isTracingIn, linksTo, spanIn } from "../internal/fibers/tracing.ts"
