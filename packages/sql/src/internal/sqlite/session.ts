/**
 * SQL that depends on the connection it runs on. A client has two connections and shares both with other callers: a
 * query about a connection may refer to another caller's statement, and a setting affects other callers, or not the
 * next SELECT.
 */

/** What there is to know of some SQL in this respect. */
interface Verdict {
  /** Why it would not do what it says, sent by itself. */
  readonly misplaced: string | undefined
  /** Whether it is to be done on each connection. */
  readonly everywhere: boolean
  /** Whether only a connection that reads apart from the writer makes it so. */
  readonly onlyWithReader: boolean
}

const nothing: Verdict = { misplaced: undefined, everywhere: false, onlyWithReader: false }

/** What a text says once texts, quoted names and comments are taken out of it. Each of them ends in one place only. */
const quoted = /'[^']*(?:'|$)|"[^"]*(?:"|$)|`[^`]*(?:`|$)|\[[^\]]*(?:\]|$)|--[^\n]*|\/\*[^]*?(?:\*\/|$)/g

// They have no arguments, and a table may have such a name.
const asked = /\b(last_insert_rowid|total_changes|changes)\s*\(\s*\)/i

const temporary =
  /^[\s;]*CREATE\s+(?:TEMP(?:ORARY)?\b|(?:\w+\s+)?(?:TABLE|VIEW|INDEX|TRIGGER)\s+(?:IF\s+NOT\s+EXISTS\s+)?temp\s*\.)/i

const create = /^[\s;]*CREATE\b/i

const pragma = /^[\s;]*PRAGMA\s+(?:\w+\s*\.\s*)?(\w+)\s*(?:[=(]\s*['"]?([+-]?\w+))?/i

const attach = /^[\s;]*(?:ATTACH|DETACH)\b/i

/** What the store has set, the values that change nothing, and how it is said instead. */
const owned: ReadonlyMap<string, readonly [values: ReadonlyArray<string>, instead: string]> = new Map([
  ["journal_mode", [["wal"], "the log that is written ahead is what lets others read meanwhile"]],
  ["synchronous", [["full", "2", "extra", "3"], "say with the option durable of the store what \"stored\" means"]],
  ["fullfsync", [["1", "on", "true", "yes"], "say with the option durable of the store what \"stored\" means"]],
  ["locking_mode", [["normal"], "the store lets other processes in"]],
  ["query_only", [["0", "off", "false", "no"], "SELECTs have a connection that only reads already"]],
  ["busy_timeout", [["0"], "the driver would block everything while it waits: use the option busyTimeout of the store"]]
])

/** What a SELECT has to hear of as well. */
const ofReaders = new Set([
  "cache_size",
  "case_sensitive_like",
  "empty_result_callbacks",
  "full_column_names",
  "mmap_size",
  "reverse_unordered_selects",
  "short_column_names",
  "temp_store",
  "trusted_schema"
])

const misplaced = (why: string): Verdict => ({ ...nothing, misplaced: why })

const ofPragma = (name: string, value: string | undefined): Verdict => {
  if (value === undefined) return nothing
  if (name === "defer_foreign_keys") {
    return misplaced("PRAGMA defer_foreign_keys lasts until the end of a transaction: use it inside of withTransaction")
  }
  const own = owned.get(name)
  if (own === undefined) return ofReaders.has(name) ? { ...nothing, everywhere: true } : nothing
  const [values, instead] = own
  return values.includes(value.toLowerCase())
    ? nothing
    : misplaced(`PRAGMA ${name} = ${value} is not taken, because the store relies on it: ${instead}`)
}

const lookAt = (sql: string): Verdict => {
  const [, name, value] = pragma.exec(sql) ?? []
  if (name !== undefined) return ofPragma(name.toLowerCase(), value)
  const bare = sql.replace(quoted, " ")
  if (temporary.test(bare)) {
    const why = "what is temporary is seen by its connection alone, and a SELECT reads on another one: "
      + "make it and use it within one withTransaction"
    return { ...misplaced(why), onlyWithReader: true }
  }
  if (attach.test(bare)) return { ...nothing, everywhere: true }
  // A trigger asks when it runs, of what it does itself.
  const [, question] = create.test(bare) ? [] : asked.exec(bare) ?? []
  return question === undefined ? nothing : misplaced(
    `${question}() tells of a connection that others write on too: use RETURNING, or ask within the withTransaction `
      + "that writes"
  )
}

/** How many texts are remembered. */
const mostTexts = 1000

const verdicts = new Map<string, Verdict>()

/** Each text is looked at once. */
const verdictOn = (sql: string): Verdict => {
  let verdict = verdicts.get(sql)
  if (verdict === undefined) {
    if (verdicts.size === mostTexts) verdicts.clear()
    verdicts.set(sql, verdict = lookAt(sql))
  }
  return verdict
}

/** Why some SQL would not do what it says outside of a transaction; undefined where nothing is wrong with it. */
export const whyMisplaced = (sql: string, hasReader: boolean): string | undefined => {
  const { misplaced, onlyWithReader } = verdictOn(sql)
  return onlyWithReader && !hasReader ? undefined : misplaced
}

/** Whether some SQL has to be done on each connection. */
export const isForAllConnections = (sql: string): boolean => verdictOn(sql).everywhere

/** Whether some SQL only works in a transaction, although it looks as if it did not. */
export const isOfTransaction = (sql: string): boolean =>
  /^[\s;]*PRAGMA\s+(?:\w+\s*\.\s*)?defer_foreign_keys\b/i.test(sql)
