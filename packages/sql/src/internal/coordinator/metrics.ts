/**
 * The metrics of a coordinator: read from its counts, and published within a second of a change.
 */
import * as NamedMetrics from "@sluice/core/unstable/NamedMetrics"
import * as Replicas from "@sluice/core/unstable/Replicas"
import * as Effect from "effect/Effect"

const fields = [
  "offered",
  "refused",
  "cancelled",
  "succeeded",
  "failed",
  "batches",
  "held",
  "depth",
  "inFlight"
] as const

/** What is counted of writes, and read, at one moment. */
export type WriteCounts = NamedMetrics.Counts<typeof fields[number]>

const system = "write_coordinator"

/** The number of a coordinator among those of its name that are open in this process. */
export const replicaOf = (name: string) => Replicas.replicaOf([system, name])

export class WriteMetrics {
  /** Records how long a group took. */
  readonly groupDuration: (millis: number) => void
  private readonly read: () => WriteCounts
  private readonly update: (counts: WriteCounts) => void
  private readonly change = Effect.unsafeMakeLatch()
  private hasChanged = false

  constructor(name: string, replica: number, read: () => WriteCounts) {
    this.read = read
    this.groupDuration = NamedMetrics.makeDuration(system, name, replica)
    this.update = NamedMetrics.makeCounts(system, name, replica, fields)
  }

  /** Something has changed since it was published. */
  changed(): void {
    if (this.hasChanged) return
    this.hasChanged = true
    this.change.unsafeOpen()
  }

  /** Publishes what has changed, until it is interrupted. */
  readonly run: Effect.Effect<never> = Effect.forever(
    this.change.await.pipe(
      Effect.zipRight(Effect.sleep("1 second")),
      Effect.zipRight(Effect.sync(() => this.publish()))
    )
  )

  publish(): void {
    this.hasChanged = false
    this.change.unsafeClose()
    this.update(this.read())
  }
}
