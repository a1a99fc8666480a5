/**
 * The options of transactions on a client that an app has already, and the table that they are checked by.
 */
import * as Table from "@sluice/core/unstable/OptionTable"
import type * as Duration from "effect/Duration"

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Whether a commit must wait until the server's disk has it. With true a server that is set up otherwise is refused.
   * Default: true.
   */
  readonly durable?: boolean | undefined
  /**
   * Whose clock says when a lease ends: the server's, whose difference to ours is measured, or the client's. With the
   * client's, the clocks of all hosts must agree. Default: `"server"`.
   */
  readonly clock?: "server" | "client" | undefined
  /** How long each caller waits for a connection of the pool. Default: 5 seconds. */
  readonly acquireTimeout?: Duration.DurationInput | undefined
  /**
   * How long an operation of a queue, or the beginning or the end of a transaction, waits for an answer of the server.
   * After that its connection is given up. Statements of your own are not bounded by it. Default: 5 seconds.
   */
  readonly operationTimeout?: Duration.DurationInput | undefined
}

export const module = "SqlTransaction"

const bounded = Table.where(Table.duration, (millis) => millis > 0 && millis < 2 ** 31, "more than 0, and finite")

export const table = {
  durable: Table.withDefault(Table.boolean, true),
  clock: Table.withDefault(Table.oneOf("server", "client"), "server"),
  acquireTimeout: Table.withDefault(bounded, "5 seconds"),
  operationTimeout: Table.withDefault(bounded, "5 seconds")
} satisfies Table.Of<Options>

export type Checked = Table.Checked<typeof table>
