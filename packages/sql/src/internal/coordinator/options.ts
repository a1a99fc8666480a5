/**
 * The options of a `WriteCoordinator`: what they are, and the table that they are checked by.
 */
import * as Table from "@sluice/core/unstable/OptionTable"
import type { InvalidOption } from "@sluice/core/QueueError"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import { identity } from "effect/Function"

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The name in metrics, events and errors. */
  readonly name: string
  /** How many writes may wait. Further callers wait for room. Default: 256. */
  readonly capacity?: number | undefined
  /** How many writes share a transaction at most. Default: 128. */
  readonly batchSize?: number | undefined
  /**
   * How long the first write of a group waits for others to share its transaction. Zero: the group is the writes that
   * wait. Default: 0.
   */
  readonly linger?: Duration.DurationInput | undefined
  /**
   * How long one write may run. This is the `timeout` of a coordinator, under the name that is usual for databases. A
   * group that has run for a tenth of it begins no further write, so that it holds the writer hardly longer than this. It
   * must be at most a third of the shortest lease of the queues in the same database, because their renewals must get
   * through. Infinite: without end, and then a write that hangs stops all others. Default: 10 seconds.
   */
  readonly writeTimeout?: Duration.DurationInput | undefined
  /** Whether closing the scope runs the writes that still wait, instead of refusing them. Default: false. */
  readonly drain?: boolean | undefined
  /** How long closing waits for the writes that are still to run. Then they are cut off. Default: 30 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /**
   * Maps a write's name to the topic that announces it. A write whose topic is undefined is not announced. If it throws,
   * that is logged. Default: the name itself.
   */
  readonly topic?: ((name: string) => string | undefined) | undefined
}

export const table = {
  name: Table.name,
  capacity: Table.withDefault(Table.positiveInteger, 256),
  batchSize: Table.withDefault(Table.positiveInteger, 128),
  linger: Table.withDefault(Table.where(Table.duration, Number.isFinite, "finite"), 0),
  writeTimeout: Table.withDefault(
    Table.limited(
      Table.where(Table.duration, (millis) => millis > 0, "more than 0"),
      "more than 0, and at most a third of the shortest lease in the database"
    ),
    "10 seconds"
  ),
  drain: Table.withDefault(Table.boolean, false),
  drainTimeout: Table.withDefault(Table.duration, "30 seconds"),
  topic: Table.withDefault(Table.callback<(name: string) => string | undefined>(), identity, "the name itself")
} satisfies Table.Of<Options>

/**
 * The options that can come from a configuration.
 *
 * @since 0.1.0
 * @category models
 */
export interface Configurable extends Table.Configurable<typeof table, Options> {}

export type Checked = Table.Checked<typeof table>

export const checkOptions = (options: Options): Effect.Effect<Checked, InvalidOption> =>
  Table.check(table, "WriteCoordinator", options)
