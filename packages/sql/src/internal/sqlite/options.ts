/**
 * The options of a `SqliteStore`: what they are, and the table that they are checked by.
 */
import * as Table from "@sluice/core/unstable/OptionTable"
import type { InvalidOption } from "@sluice/core/QueueError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The path of the file. Its directory must exist. `":memory:"` is a database that ends with the layer. */
  readonly filename: string
  /**
   * Whether to make the file where there is none. With false a missing file is `StoreUnavailable`, reason
   * `"missing-file"`. Use that in a program that works on what others have stored, and must not take a misspelt path for
   * an empty database. Default: true.
   */
  readonly create?: boolean | undefined
  /**
   * Whether a commit waits until the disk has it (`synchronous` FULL), so that it survives a power cut. With false
   * (NORMAL) it survives a crash of the process, but a power cut may take the last commits. Default: true.
   */
  readonly durable?: boolean | undefined
  /**
   * How long each caller waits for a lock of another process, however many wait, without blocking the event loop. The
   * time in which this process has the file does not count. Zero: not at all. Infinite: without end. Default: 10
   * seconds.
   */
  readonly busyTimeout?: Duration.DurationInput | undefined
  /**
   * How often the store looks at the size of the log. A log of more than 16 MB is copied into the file and cut. It grows
   * like that while a reader takes long. Default: 1 minute.
   */
  readonly checkpointInterval?: Duration.DurationInput | undefined
  /** Maps a column's name to the name in a row. Default: names stay as they are. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** Maps a name in a query to a column's name. Default: names stay as they are. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /** How many statements are kept prepared for each connection. Default: 200. */
  readonly prepareCacheSize?: number | undefined
  /** Attributes for the spans of statements. Default: none. */
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
}

export const module = "SqliteStore"

const inMemory = ":memory:"

/** The driver would take the rest for parameters, or for nothing. */
const isPath = (filename: string): boolean =>
  filename.trim() !== "" && !filename.includes("?") && !filename.includes("\0")

type Rename = (name: string) => string

export const table = {
  filename: Table.text(isPath, "a path without \"?\", or \":memory:\""),
  create: Table.withDefault(Table.boolean, true),
  durable: Table.withDefault(Table.boolean, true),
  busyTimeout: Table.withDefault(Table.duration, "10 seconds"),
  checkpointInterval: Table.withDefault(Table.where(Table.duration, (millis) => millis > 0, "more than 0"), "1 minute"),
  transformResultNames: Table.optionalCallback<Rename>("names stay as they are"),
  transformQueryNames: Table.optionalCallback<Rename>("names stay as they are"),
  prepareCacheSize: Table.withDefault(Table.positiveInteger, 200),
  spanAttributes: Table.withDefault(
    Table.holding<Readonly<Record<string, unknown>>>(
      "object",
      (value) => typeof value === "object" && value !== null,
      "an object of attributes"
    ),
    {},
    "none"
  )
} satisfies Table.Of<Options>

export interface Checked extends Table.Checked<typeof table> {
  /** Whether what is stored outlives the process. */
  readonly persistent: boolean
}

export const checkOptions = (options: Options): Effect.Effect<Checked, InvalidOption> =>
  Effect.map(Table.check(table, module, options), (checked) => ({
    ...checked,
    persistent: checked.filename !== inMemory
  }))
