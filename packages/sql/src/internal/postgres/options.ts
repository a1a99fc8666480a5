/**
 * The options of a `PostgresStore`: what they are, and the table that they are checked by.
 */
import * as Table from "@sluice/core/unstable/OptionTable"
import type * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import type { ConnectionOptions } from "node:tls"

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The address, as in `postgres://user:password@host:5432/database`. Default: the other options. */
  readonly url?: Redacted.Redacted | undefined
  /** The host, or the directory of a socket. Default: `PGHOST`, and otherwise `localhost`. */
  readonly host?: string | undefined
  /** The port. Default: `PGPORT`, and otherwise 5432. */
  readonly port?: number | undefined
  /** The database. Default: `PGDATABASE`, and otherwise the name of the user. */
  readonly database?: string | undefined
  /** The user. Default: `PGUSER`, and otherwise that of the process. */
  readonly username?: string | undefined
  /** The password. Default: `PGPASSWORD`, and otherwise none. */
  readonly password?: Redacted.Redacted | undefined
  /** Whether, and how, the connection is encrypted. Default: as the address says, and otherwise not. */
  readonly ssl?: boolean | ConnectionOptions | undefined
  /**
   * Whether a commit waits until the server's disk has it (`synchronous_commit`), so that it survives a power cut. With
   * false a crash of the server may take the last commits. Default: true.
   */
  readonly durable?: boolean | undefined
  /** How many connections the pool has at most. Default: 10. */
  readonly maxConnections?: number | undefined
  /** How long each caller waits for a connection. Default: 5 seconds. */
  readonly acquireTimeout?: Duration.DurationInput | undefined
  /**
   * How long an operation of a queue, or the beginning or the end of a transaction, waits for an answer of the server.
   * After that its connection is given up. Statements of your own are not bounded by it. Default: 5 seconds.
   */
  readonly operationTimeout?: Duration.DurationInput | undefined
  /** What the server calls the connections. Default: `"sluice"`. */
  readonly applicationName?: string | undefined
  /** Maps a column's name to the name in a row. Default: names stay as they are. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** Maps a name in a query to a column's name. Default: names stay as they are. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /** Attributes for the spans of statements. Default: none. */
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
}

export const module = "PostgresStore"

type Rename = (name: string) => string

const isText = (text: string): boolean => text !== "" && !text.includes("\0")

const some = (words: string) => Table.optional(Table.text(isText, "text that is not empty"), words)

const redacted = (words: string) =>
  Table.optional(
    Table.holding<Redacted.Redacted, Redacted.Redacted>(
      "`Redacted`",
      (value) => Redacted.isRedacted(value) && typeof Redacted.value(value) === "string",
      "a Redacted text"
    ),
    words
  )

const bounded = Table.where(Table.duration, (millis) => millis > 0 && millis < 2 ** 31, "more than 0, and finite")

export const table = {
  url: redacted("the other options"),
  host: some("`PGHOST`, and otherwise `localhost`"),
  port: Table.optional(Table.integerBetween(1, 65_535), "`PGPORT`, and otherwise 5432"),
  database: some("`PGDATABASE`, and otherwise the name of the user"),
  username: some("`PGUSER`, and otherwise that of the process"),
  password: redacted("`PGPASSWORD`, and otherwise none"),
  ssl: Table.optional(
    Table.holding<boolean | ConnectionOptions, boolean>(
      "boolean or object",
      (value) => typeof value === "boolean" || typeof value === "object" && value !== null,
      "a boolean, or an object of options"
    ),
    "as the address says, and otherwise not"
  ),
  durable: Table.withDefault(Table.boolean, true),
  maxConnections: Table.withDefault(Table.integerFrom(3), 10),
  acquireTimeout: Table.withDefault(bounded, "5 seconds"),
  operationTimeout: Table.withDefault(bounded, "5 seconds"),
  applicationName: Table.withDefault(Table.text(isText, "text that is not empty"), "sluice"),
  transformResultNames: Table.optionalCallback<Rename>("names stay as they are"),
  transformQueryNames: Table.optionalCallback<Rename>("names stay as they are"),
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

export type Checked = Table.Checked<typeof table>
