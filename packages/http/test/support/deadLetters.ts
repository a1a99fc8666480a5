/**
 * A server that has dead letters.
 */
import { SluiceApi } from "@sluice/http"
import { Effect, Schedule, Schema } from "effect"
import { admin, until } from "./operating.ts"
import { type Options, serve } from "./server.ts"

export const path = "/queues/emails/dead-letters"

const decodeLetters = Schema.decodeUnknownSync(Schema.Array(SluiceApi.DeadLetter), { onExcessProperty: "error" })

/** A server whose emails fail while it says so, with some dead letters of these addressees. */
export const withDead = (addressees: ReadonlyArray<string>, options: Options = {}) =>
  Effect.gen(function*() {
    const failing = { isOn: true }
    const sent: Array<string> = []
    const server = yield* serve({
      ...options,
      emails: {
        maxDeliveries: 1,
        retry: Schedule.recurs(0),
        onProcessError: () => Effect.void,
        process: ({ items }) =>
          failing.isOn ? Effect.fail("no route") : Effect.sync(() => void sent.push(...items.map(({ to }) => to))),
        ...options.emails
      }
    })
    const at = new Date(1_700_000_000_000)
    for (const to of addressees) yield* server.emails.offerStored({ to, at, body: { of: to } })
    yield* until(server.emails.metrics, ({ deadLettered }) => deadLettered === addressees.length)
    const list = (query = "") => Effect.map(admin(server, `${path}${query}`), ({ body }) => decodeLetters(body))
    return { server, failing, list, sent }
  })
