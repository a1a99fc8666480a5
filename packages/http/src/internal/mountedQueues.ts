/**
 * The mounted queues behind `HttpQueues`. They are under a symbol, because they are private.
 */
import type { EventLog } from "./eventLog.ts"
import type { Mounted } from "./mounted.ts"

export const mountedQueues: unique symbol = Symbol.for("@sluice/http/HttpQueues/mounted")

export interface MountedQueues {
  readonly get: (name: string) => Mounted | undefined
  readonly all: ReadonlyArray<Mounted>
  readonly log: EventLog
}

/** Throws at a double, which has no queue that could be served. */
export const mountedOf = (queues: object): MountedQueues => {
  const mounted = (queues as { readonly [mountedQueues]?: MountedQueues })[mountedQueues]
  if (mounted === undefined) throw new Error("HttpQueues must be what HttpQueues.layer makes, and no double")
  return mounted
}
