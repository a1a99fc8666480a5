/**
 * What an operator is told of items that have failed: what the errors of the user say.
 */
import { expect, it } from "@effect/vitest"
import { Batch } from "@sluice/core"
import { Data, Effect, Schedule } from "effect"
import { withDead } from "./support/deadLetters.ts"
import { admin, until } from "./support/operating.ts"
import { type Email, serve } from "./support/server.ts"

class Bounced extends Data.TaggedError("Bounced")<{ readonly to: string }> {}

const firstLine = (text: string) => text.split("\n")[0]

const bounces = ({ items }: { readonly items: ReadonlyArray<Email> }) =>
  Batch.failSome(items.map(({ to }, index) => [index, new Bounced({ to })] as const))

it.scopedLive("the dead letters and events of a BatchQueue say the error of each item", () =>
  Effect.gen(function*() {
    const { list, server } = yield* withDead(["ada", "bob"], { emails: { process: bounces } })
    const said = ["Bounced: {\"to\":\"ada\"}", "Bounced: {\"to\":\"bob\"}"]
    expect((yield* list()).map(({ error }) => firstLine(error))).toEqual(said)
    expect(firstLine((yield* admin(server, "/queues/emails/dead-letters/2")).body.error)).toBe(said[1])
    const events = yield* until(
      Effect.map(admin(server, "/queues/emails/events"), ({ body }) =>
        (body as ReadonlyArray<any>).map(({ event }) => event).filter(({ _tag }) => _tag === "DeadLettered")),
      ({ length }) =>
        length === 2
    )
    expect(events.map(({ error }) => firstLine(error))).toEqual(said)
  }))

it.scopedLive("the events of a WriteBehind say the error of each item", () =>
  Effect.gen(function*() {
    const server = yield* serve({
      readings: {
        retry: Schedule.recurs(1),
        flush: ({ items }) => Batch.failSome(items.map(({ sensor }, index) => [index, new Bounced({ to: sensor })]))
      }
    })
    yield* server.readings.offerAll([{ sensor: "roof", celsius: 1 }, { sensor: "cellar", celsius: 2 }])
    const events = yield* until(
      Effect.map(admin(server, "/queues/readings/events"), ({ body }) =>
        (body as ReadonlyArray<any>).map(({ event }) => event).filter(({ _tag }) => _tag !== "Flushed")),
      ({ length }) =>
        length === 3
    )
    expect(events.map(({ _tag, error }) => [_tag, firstLine(error)])).toEqual([
      ["Retried", "Bounced: {\"to\":\"roof\"}"],
      ["Dropped", "Bounced: {\"to\":\"roof\"}"],
      ["Dropped", "Bounced: {\"to\":\"cellar\"}"]
    ])
  }))
