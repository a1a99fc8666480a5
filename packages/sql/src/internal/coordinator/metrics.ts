/**
 * The metrics of a coordinator: read from its counts, and published within a second of a change.
 */
import * as NamedMetrics from "@sluice/core/unstable/NamedMetrics"
import * as Replicas from "@sluice/core/unstable/Replicas"
import * as Effect from "effect/Effect"

/** What is counted of writes, and read, at one moment. */
export interface WriteCounts {
  readonly offered: number
  readonly refused: number
  readonly cancelled: number
  readonly succeeded: number
  readonly failed: number
  readonly batches: number
  readonly depth: number
  readonly inFlight: number
  /** For room in the queue. */
  readonly waiting: number
}

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
    this.groupDuration = NamedMetrics.makeDuration(
      system,
      name,
      replica,
      "sluice_write_group_duration_ms",
      "Duration of a group of writes, from its beginning to the end of its commit"
    )
    this.update = NamedMetrics.makeCounts(system, name, replica, {
      offered: ["sluice_writes_accepted_total", "Writes that got into the queue"],
      succeeded: ["sluice_writes_completed_total", "Writes committed"],
      failed: ["sluice_writes_failed_total", "Writes that failed, or were refused"],
      cancelled: ["sluice_writes_cancelled_total", "Writes taken out by their submitters"],
      batches: ["sluice_write_groups_total", "Transactions"]
    }, {
      depth: ["sluice_depth_writes", "Writes in the queue"],
      inFlight: ["sluice_in_flight_writes", "Writes taken from the queue and not answered"],
      waiting: ["sluice_waiting_writes", "Writes waiting for room in the queue"]
    })
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
