/**
 * Wakes the one fiber that waits for work. Any fiber may ring.
 *
 * Checking and parking are one step, so no ring in between is missed. A ring without a waiting fiber has no effect: the
 * next fiber checks before it waits.
 */
import * as Effect from "effect/Effect"
import { park } from "./parking.ts"

/** The bell of one fiber. */
export class Bell {
  private wake: (() => void) | undefined

  /** Waits, unless there is something to do; `isReady` says so. `onPark` is called where the fiber has parked. */
  readonly wait: Effect.Effect<void>

  constructor(isReady: () => boolean, onPark?: () => void) {
    this.wait = park<void>((resume) => {
      if (isReady()) return resume(Effect.void)
      this.wake = () => resume(Effect.void)
      onPark?.()
    })
  }

  /** Whether a fiber is parked. */
  get isAwaited(): boolean {
    return this.wake !== undefined
  }

  /** Lets the fiber look again, if it is parked. */
  ring(): void {
    const { wake } = this
    if (wake === undefined) return
    this.wake = undefined
    wake()
  }
}
