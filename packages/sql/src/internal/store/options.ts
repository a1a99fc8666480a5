/**
 * The options of a `SqlBatchStore`: what they are, and the table that they are checked by.
 */
import * as Table from "@sluice/core/unstable/OptionTable"

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The beginning of the names of the tables. With different prefixes, several stores can be in one database. Default:
   * `"sluice"`.
   */
  readonly prefix?: string | undefined
}

export const module = "SqlBatchStore"

export const table = {
  prefix: Table.withDefault(
    Table.text(
      (prefix) => /^[A-Za-z][A-Za-z0-9_]{0,31}$/.test(prefix),
      "letters, digits and underscores, beginning with a letter, at most 32"
    ),
    "sluice"
  )
} satisfies Table.Of<Options>
