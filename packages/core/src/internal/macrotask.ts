/**
 * The break for timers and I/O. A loop that only ever yields to other fibers starves them.
 */
import * as Context from "effect/Context"

declare const setImmediate: ((task: () => void) => unknown) | undefined
declare const setTimeout: (task: () => void, millis: number) => unknown

/** How long a loop may run before it takes a break: reaction to timers and I/O, against throughput. */
export const macrotaskEveryMillis = 10

/**
 * Runs a task once timers and I/O have had their turn. A test that schedules fibers itself replaces it, because
 * `setImmediate` escapes its schedule.
 *
 * @internal
 */
export class Macrotask extends Context.Reference<Macrotask>()("@sluice/core/Macrotask", {
  defaultValue: () => (task: () => void): void => {
    if (typeof setImmediate === "function") setImmediate(task)
    else setTimeout(task, 0)
  }
}) {}
