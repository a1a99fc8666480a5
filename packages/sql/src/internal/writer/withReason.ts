/**
 * The message of Effect's clients says that a statement failed, and nothing else. This one says why.
 */
import { SqlError } from "@effect/sql/SqlError"
import { messageOf } from "@sluice/core/unstable/ErrorText"

export const withReason = (error: SqlError): SqlError => {
  const message = messageOf(error)
  return message === error.message ? error : new SqlError({ cause: error.cause, message })
}
