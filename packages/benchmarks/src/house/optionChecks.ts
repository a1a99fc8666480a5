/** What it takes to check the plain options of a `WriteBehind` by their table, against a `Schema`. */
import * as Check from "@sluice/core/unstable/OptionCheck"
import * as Table from "@sluice/core/unstable/OptionTable"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Plan, timed, timesAsFast } from "../Benchmark.ts"

const checks = 5_000

export const plainOptions = {
  name: "readings",
  capacity: 10_000,
  batchSize: 500,
  flushInterval: "1 second"
} as const

const checked = {
  name: "readings",
  capacity: 10_000,
  batchSize: 500,
  shards: 1,
  flushIntervalMillis: 1000,
  drainTimeoutMillis: 30_000
}

const table = {
  name: Table.name,
  capacity: Table.positiveInteger,
  batchSize: Table.withDefault(Table.positiveInteger, 100),
  shards: Table.withDefault(Table.positiveInteger, 1),
  flushInterval: Table.withDefault(Table.duration, "1 second"),
  drainTimeout: Table.withDefault(Table.duration, "30 seconds")
}

export const byTable = (options: object) => Table.check(table, "WriteBehind", options)

const positiveInteger = Schema.Number.pipe(
  Schema.filter((value) => Number.isSafeInteger(value) && value >= 1, { message: () => "an integer of at least 1" })
)

const durationInput = Schema.declare((value): value is Duration.DurationInput => Check.isDuration(value), {
  message: () => Check.durationLimit
})
const duration = Schema.transform(durationInput, Schema.Number, {
  strict: true,
  decode: (value) => Duration.toMillis(value),
  encode: (millis) => millis
})

const name = Schema.String.pipe(
  Schema.filter((name) => name.trim() !== "", { message: () => "a name that is not blank" })
)

const schema = Schema.Struct({
  name,
  capacity: positiveInteger,
  batchSize: Schema.optionalWith(positiveInteger, { default: () => 100 }),
  shards: Schema.optionalWith(positiveInteger, { default: () => 1 }),
  flushInterval: Schema.optionalWith(duration, { default: () => 1000 }),
  drainTimeout: Schema.optionalWith(duration, { default: () => 30_000 })
}).pipe(Schema.rename({ flushInterval: "flushIntervalMillis", drainTimeout: "drainTimeoutMillis" }))

export const bySchema = Schema.decodeUnknown(schema)

const expected = JSON.stringify(checked)

const checking = (check: Effect.Effect<object, unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    let left = checks
    let last: object = {}
    const all = Effect.whileLoop({
      while: () => left-- > 0,
      body: () => Effect.orDie(check),
      step: (checked) => {
        last = checked
      }
    })
    return Effect.map(all, () => {
      const { batchSize, capacity, drainTimeoutMillis, flushIntervalMillis, name, shards } = last as typeof checked
      const found = JSON.stringify({ name, capacity, batchSize, shards, flushIntervalMillis, drainTimeoutMillis })
      if (found !== expected) throw new Error(`${found} instead of ${expected}`)
    })
  })

const own = timed("table of options", checks, checking(Effect.suspend(() => byTable(plainOptions))))
const decoded = timed("Schema of options", checks, checking(Effect.suspend(() => bySchema(plainOptions))))

export const optionChecks: Plan = {
  cases: [own, decoded],
  ratios: [timesAsFast("options checked by their table, against a Schema", own.name, decoded.name)]
}
