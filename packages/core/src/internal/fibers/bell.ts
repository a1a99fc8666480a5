/**
 * Wakes the one fiber that waits until there is something to do, which anybody may bring.
 *
 * Looking and parking are one step, so that what comes in between is not missed. A ring that nobody waits for is nothing:
 * who waits next looks for itself.
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
