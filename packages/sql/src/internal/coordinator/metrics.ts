/**
 * The metrics of a coordinator: read from its counts, and published within a second of a change.
 */
import * as NamedMetrics from "@sluice/core/unstable/NamedMetrics"
import * as Replicas from "@sluice/core/unstable/Replicas"
import { Timekeeper } from "@sluice/core/unstable/Fibers"
import type * as Clock from "effect/Clock"

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

/** How long a change of the numbers is kept to itself. */
const publishWithinMillis = 1000

/** The number of a coordinator among those of its name that are open in this process. */
export const replicaOf = (name: string) => Replicas.replicaOf([system, name])

export class WriteMetrics {
  /** Records how long a group took. */
  readonly groupDuration: (millis: number) => void
  private readonly read: () => WriteCounts
  private readonly update: (counts: WriteCounts) => void
  /** Keeps the time until what has changed is published. */
  readonly publishing: Timekeeper
  private hasChanged = false

  constructor(name: string, replica: number, clock: Clock.Clock, read: () => WriteCounts) {
    this.read = read
    this.publishing = new Timekeeper(clock, () => this.publish())
    this.groupDuration = NamedMetrics.makeDuration(system, name, replica)
    this.update = NamedMetrics.makeCounts(system, name, replica, fields)
  }

  /** Something has changed since it was published. */
  changed(): void {
    if (this.hasChanged) return
    this.hasChanged = true
    this.publishing.within(publishWithinMillis)
  }

  publish(): void {
    this.hasChanged = false
    this.update(this.read())
  }
}
