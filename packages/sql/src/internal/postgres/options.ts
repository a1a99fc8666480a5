/**
 * The options of a `PostgresStore`: what they are, and the table that they are checked by.
 */
import * as Table from "@sluice/core/unstable/OptionTable"
import * as Redacted from "effect/Redacted"
import { type Options as ServerOptions, table as serverTable } from "../server/options.ts"

/**
 * How a connection is encrypted: certificates as texts, and what is checked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Encryption {
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  readonly servername?: string | undefined
  readonly rejectUnauthorized?: boolean | undefined
}

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends ServerOptions {
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
  readonly ssl?: boolean | Encryption | undefined
  /** How many connections the pool has at most. Default: 10. */
  readonly maxConnections?: number | undefined
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

export const table = {
  ...serverTable,
  url: redacted("the other options"),
  host: some("`PGHOST`, and otherwise `localhost`"),
  port: Table.optional(Table.integerBetween(1, 65_535), "`PGPORT`, and otherwise 5432"),
  database: some("`PGDATABASE`, and otherwise the name of the user"),
  username: some("`PGUSER`, and otherwise that of the process"),
  password: redacted("`PGPASSWORD`, and otherwise none"),
  ssl: Table.optional(
    Table.holding<boolean | Encryption, boolean>(
      "boolean or object",
      (value) => typeof value === "boolean" || typeof value === "object" && value !== null,
      "a boolean, or an object of options"
    ),
    "as the address says, and otherwise not"
  ),
  maxConnections: Table.withDefault(Table.integerFrom(3), 10),
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
