/**
 * The break for timers and I/O. A loop that only ever yields to other fibers starves them, so the loops of Sluice leave
 * the event loop a turn every `everyMillis`.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

declare const setImmediate: ((task: () => void) => unknown) | undefined
declare const setTimeout: (task: () => void, millis: number) => unknown

/**
 * How long a loop may run before it takes a break, in milliseconds: reaction to timers and I/O, against throughput.
 *
 * @since 0.1.0
 * @category constants
 */
export const everyMillis = 10

/**
 * Runs a task once timers and I/O have had their turn. A test that schedules fibers itself replaces it, because
 * `setImmediate` escapes its schedule.
 *
 * @since 0.1.0
 * @category references
 */
export class Macrotask extends Context.Reference<Macrotask>()("@sluice/core/unstable/Macrotask", {
  defaultValue: () => (task: () => void): void => {
    if (typeof setImmediate === "function") setImmediate(task)
    else setTimeout(task, 0)
  }
}) {}
