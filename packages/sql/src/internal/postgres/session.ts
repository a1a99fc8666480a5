/**
 * SQL that depends on the connection it runs on. Outside of a transaction each statement has some connection of the pool,
 * which others use next: a setting affects them, and is not there for the next statement of its author.
 */
import { firstWord } from "../../Dialect.ts"

const whole = "outside of a transaction each statement has another connection of the pool: do this within one "
  + "withTransaction"

const ofSession = new Set([
  "SET",
  "RESET",
  "DISCARD",
  "LISTEN",
  "UNLISTEN",
  "PREPARE",
  "EXECUTE",
  "DEALLOCATE",
  "DECLARE",
  "FETCH",
  "MOVE",
  "CLOSE",
  "LOCK"
])

const temporary = /^[\s;]*(?:CREATE|SELECT)\b[^'"]*\b(?:TEMP|TEMPORARY)\b/i

/** They tell of the connection, or hold something for as long as that is open. */
const asked = /\b(currval|lastval|pg_advisory_lock|pg_advisory_lock_shared|pg_try_advisory_lock|set_config)\s*\(/i

/** What is quoted is not meant. Each of them ends in one place only. */
const quoted = /'[^']*(?:'|$)|"[^"]*(?:"|$)|--[^\n]*|\/\*[^]*?(?:\*\/|$)/g

const mostTexts = 1000

const verdicts = new Map<string, string | undefined>()

const lookAt = (sql: string): string | undefined => {
  if (ofSession.has(firstWord(sql))) return whole
  const bare = sql.replace(quoted, " ")
  if (temporary.test(bare)) return whole
  const [, question] = asked.exec(bare) ?? []
  return question === undefined ? undefined : `${question}: ${whole}`
}

/** Why some SQL would not do what it says by itself; undefined where nothing is wrong. Each text is looked at once. */
export const whyMisplaced = (sql: string): string | undefined => {
  if (!verdicts.has(sql)) {
    if (verdicts.size === mostTexts) verdicts.clear()
    verdicts.set(sql, lookAt(sql))
  }
  return verdicts.get(sql)
}
