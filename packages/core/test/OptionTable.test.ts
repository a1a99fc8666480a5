import { describe, expect, it } from "@effect/vitest"
import { QueueError } from "@sluice/core"
import * as Table from "@sluice/core/unstable/OptionTable"
import { Config, ConfigProvider, Effect, Option, Schedule } from "effect"

const table = {
  name: Table.name,
  size: Table.withDefault(Table.positiveInteger, 10_000),
  workers: Table.withDefault(Table.integerFrom(0), 1),
  shards: Table.withDefault(Table.integerBetween(1, 65_536), 16),
  every: Table.withDefault(Table.duration, "5 minutes"),
  lease: Table.withDefault(Table.where(Table.duration, (millis) => millis >= 10, "at least 10 milliseconds"), 20),
  rest: Table.optional(Table.duration, "it does not rest"),
  isolate: Table.optional(Table.oneOf("bisect", "each"), "not at all"),
  mode: Table.withDefault(Table.oneOf("fast", "slow"), "slow"),
  prefix: Table.withDefault(Table.text((text) => /^[a-z]+$/.test(text), "small letters"), "sluice"),
  durable: Table.withDefault(Table.boolean, true),
  handle: Table.callback<() => void>("a function that handles"),
  onDrop: Table.optionalCallback("none"),
  retry: Table.withDefault(Table.schedule, Schedule.recurs(3), "3 retries"),
  limits: Table.withDefault(
    Table.object({
      depth: Table.withDefault(Table.positiveInteger, 64),
      linger: Table.withDefault(Table.duration, 0)
    }, "an object with depth or linger"),
    {},
    "nested 64 deep"
  ),
  codec: Table.optional(
    Table.withFunctions<object>("object", () => ({ required: ["encode"], optional: ["carries"] })),
    "JSON"
  )
}

const handle = () => {}
const valid = { name: "q", handle }

const refused = (options: object) => Effect.flip(Table.check(table, "Module", { ...valid, ...options }))

describe("what is checked", () => {
  it.effect("has its defaults, and durations as milliseconds, whose names say so", () =>
    Effect.gen(function*() {
      const { retry, ...checked } = yield* Table.check(table, "Module", valid)
      expect(checked).toEqual({
        name: "q",
        size: 10_000,
        workers: 1,
        shards: 16,
        everyMillis: 300_000,
        leaseMillis: 20,
        restMillis: undefined,
        isolate: undefined,
        mode: "slow",
        prefix: "sluice",
        durable: true,
        handle,
        onDrop: undefined,
        limits: { depth: 64, lingerMillis: 0 },
        codec: undefined
      })
      expect(Schedule.isSchedule(retry)).toBe(true)
    }))

  it.effect("is what was given", () =>
    Effect.gen(function*() {
      const codec = { encode: () => 1 }
      const given = { size: 3, workers: 0, every: "2 seconds", rest: 5, isolate: "each", durable: false, codec }
      expect(yield* Table.check(table, "Module", { ...valid, ...given, limits: { linger: "1 second" } })).toMatchObject(
        {
          size: 3,
          workers: 0,
          everyMillis: 2000,
          restMillis: 5,
          isolate: "each",
          durable: false,
          codec,
          limits: { depth: 64, lingerMillis: 1000 }
        }
      )
    }))
})

describe("what does not hold is told by queue, field, value and limit", () => {
  const negative = "a duration that is not negative, such as \"1 second\" or 500 (milliseconds)"
  const cases: ReadonlyArray<readonly [field: string, value: unknown, limit: string]> = [
    ["size", 0, "an integer of at least 1"],
    ["size", "7", "an integer of at least 1"],
    ["size", 1.5, "an integer of at least 1"],
    ["size", null, "an integer of at least 1"],
    ["workers", -1, "an integer of at least 0"],
    ["shards", 65_537, "an integer from 1 to 65536"],
    ["shards", 0, "an integer from 1 to 65536"],
    ["every", -1, negative],
    ["every", "soon", negative],
    ["every", NaN, negative],
    ["lease", 9, "at least 10 milliseconds"],
    ["lease", "soon", negative],
    ["rest", null, negative],
    ["isolate", "halves", "\"bisect\" or \"each\""],
    ["mode", "quick", "\"fast\" or \"slow\""],
    ["prefix", "A", "small letters"],
    ["prefix", 7, "small letters"],
    ["durable", "yes", "true or false"],
    ["handle", undefined, "a function that handles"],
    ["handle", 7, "a function that handles"],
    ["onDrop", null, "a function, or absent"],
    ["retry", 7, "a Schedule, or absent"],
    ["limits", 7, "an object with depth or linger"],
    ["limits", null, "an object with depth or linger"],
    ["codec", 7, "an object with encode"]
  ]
  for (const [field, value, limit] of cases) {
    it.effect(`${field} = ${JSON.stringify(value) ?? "undefined"}`, () =>
      Effect.gen(function*() {
        const error = yield* refused({ [field]: value })
        expect(error).toBeInstanceOf(QueueError.InvalidOption)
        expect(error).toMatchObject({ queue: "q", field, value, limit })
      }))
  }

  it.effect("within an object by the whole way to it", () =>
    Effect.gen(function*() {
      expect(yield* refused({ limits: { depth: 0 } })).toMatchObject({ queue: "q", field: "limits.depth", value: 0 })
      expect(yield* refused({ limits: { linger: -1 } })).toMatchObject({ field: "limits.linger", value: -1 })
      expect(yield* refused({ codec: { encode: () => 1, carries: 7 } })).toMatchObject({ field: "codec.carries" })
    }))

  it.effect("of the name itself by the module", () =>
    Effect.gen(function*() {
      const expected = { queue: "Module", field: "name", limit: "a name that is not blank" }
      expect(yield* refused({ name: " " })).toMatchObject({ ...expected, value: " " })
      expect(yield* refused({ name: undefined })).toMatchObject({ ...expected, value: undefined })
      expect(yield* Effect.flip(Table.check(table, "Module", undefined as any))).toMatchObject(expected)
    }))

  it.effect("by the module, where there is no name", () =>
    Effect.gen(function*() {
      const { durable, size } = table
      const error = yield* Effect.flip(Table.check({ size, durable }, "Module", { size: 0, durable: 7 }))
      expect(error).toMatchObject({ queue: "Module", field: "size" })
    }))

  it.effect("in the order of the table", () =>
    Effect.gen(function*() {
      expect(yield* refused({ durable: 7, every: -1, handle: 7 })).toMatchObject({ field: "every" })
    }))
})

describe("a default in words", () => {
  const words = (entry: Table.Entry<never, unknown, unknown, string>) => entry.default
  it("is a number in thousands, a duration in its largest unit, a text in quotes", () => {
    expect(words(table.size)).toBe("10,000")
    expect(words(table.shards)).toBe("16")
    expect(words(table.every)).toBe("5 minutes")
    expect(words(table.lease)).toBe("20 milliseconds")
    expect(words(table.mode)).toBe("`\"slow\"`")
    expect(words(table.durable)).toBe("true")
    const inWords = (value: number | string) => words(Table.withDefault(Table.duration, value as number))
    expect([0, 1000, "1 day", "90 minutes", 1500, Infinity].map(inWords)).toEqual([
      "0",
      "1 second",
      "1 day",
      "90 minutes",
      "1,500 milliseconds",
      "infinite"
    ])
  })

  it("is what was said instead, and undefined where the option must be given", () => {
    expect(words(table.rest)).toBe("it does not rest")
    expect(words(table.onDrop)).toBe("none")
    expect(words(table.limits)).toBe("nested 64 deep")
    expect([words(table.name), words(table.handle)]).toEqual([undefined, undefined])
  })
})

describe("a limit in words", () => {
  it("is that of the check, or what was said of a check beside the table", () => {
    const limits = [table.size, table.shards, table.lease, table.isolate, table.name, table.every, table.handle]
    expect(limits.map(({ limit }) => limit)).toEqual([
      "at least 1",
      "from 1 to 65,536",
      "at least 10 milliseconds",
      "`\"bisect\"` or `\"each\"`",
      "not blank",
      undefined,
      undefined
    ])
    expect(Table.limited(table.every, "longer than `lease`").limit).toBe("longer than `lease`")
  })
})

describe("a configuration", () => {
  const configured = (options: object, configuration: object) => Table.configured(table, options, configuration)

  it("wins over the options", () => {
    expect(configured({ ...valid, size: 3, workers: 2 }, { size: 7 })).toEqual({ ...valid, size: 7, workers: 2 })
  })

  it("wins within an object field by field", () => {
    expect(configured({ limits: { depth: 3, linger: 1 } }, { limits: { linger: 2 } })).toEqual({
      limits: { depth: 3, linger: 2 }
    })
    expect(configured({}, { limits: { linger: 2 } })).toEqual({ limits: { linger: 2 } })
    expect(configured({ limits: undefined }, { limits: { linger: 2 } })).toEqual({ limits: { linger: 2 } })
    expect(configured({ limits: { depth: 3 } }, { size: 7 })).toEqual({ size: 7, limits: { depth: 3 } })
  })

  it("leaves what it does not set as it is: undefined, or none", () => {
    const options = { ...valid, size: 3, limits: { depth: 3 } }
    expect(configured(options, { size: undefined, limits: undefined })).toEqual(options)
    expect(configured(options, { size: Option.none(), limits: Option.none() })).toEqual(options)
    expect(configured(options, { size: Option.some(7), limits: Option.some({ depth: Option.none() }) })).toEqual({
      ...options,
      size: 7
    })
    expect(configured({}, { limits: { depth: undefined, linger: Option.some(2) } })).toEqual({ limits: { linger: 2 } })
  })

  it.effect("is read option by option, within objects too, or as a whole", () =>
    Effect.gen(function*() {
      type Configurable = Table.Configurable<typeof table, Readonly<Record<keyof typeof table, unknown>>>
      const read = (configs: Table.Configs<Configurable>) =>
        Effect.withConfigProvider(
          Table.withConfigs(table, { ...valid, size: 3 }, configs),
          ConfigProvider.fromMap(new Map([["SIZE", "7"], ["LINGER", "2"]]))
        )
      const size = Config.integer("SIZE")
      const absent = Config.option(Config.integer("ABSENT"))
      expect(yield* read({ size, workers: absent, limits: { linger: Config.integer("LINGER"), depth: absent } }))
        .toEqual({ ...valid, size: 7, limits: { linger: 2 } })
      expect(yield* read({ size: absent, workers: undefined })).toEqual({ ...valid, size: 3 })
      expect(yield* read(Config.all({ size }))).toEqual({ ...valid, size: 7 })
      expect((yield* Effect.flip(read({ size: Config.integer("ABSENT") })))._op).toBe("MissingData")
    }))

  it.effect("names the variable of a value that is beyond the limit of its option", () =>
    Effect.gen(function*() {
      type Configurable = Table.Configurable<typeof table, Readonly<Record<keyof typeof table, unknown>>>
      const fault = (configs: Table.Configs<Configurable>) =>
        Table.withConfigs(table, valid, configs).pipe(
          Effect.withConfigProvider(
            ConfigProvider.fromMap(new Map([["Q_ZERO", "0"], ["Q_SOON", "1 milli"]]), { pathDelim: "_" })
          ),
          Effect.flip,
          Effect.map((error) => `${error._op} ${String(error)}`)
        )
      const zero = Config.integer("ZERO")
      const message = "option \"size\" is 0, but must be an integer of at least 1"
      for (
        const size of [Config.nested(zero, "Q"), Config.option(Config.nested(zero, "Q")), Config.integer("Q_ZERO")]
      ) {
        const told = yield* fault({ size })
        expect(told).toContain("InvalidData")
        expect(told).toMatch(/Q[._]ZERO/)
        expect(told).toContain(message)
      }
      const depth = yield* fault({ limits: { depth: Config.integer("Q_ZERO") } })
      expect(depth).toContain("Q_ZERO")
      expect(depth).toContain("limits.depth")
      expect(yield* fault({ lease: Config.duration("Q_SOON") })).toContain("Q_SOON")
      // The first variable is not set, and what is wrong is in the second.
      const either = Config.orElse(Config.integer("Q_ABSENT"), () => Config.integer("Q_ZERO"))
      expect(yield* fault({ size: Config.withDefault(either, 7) })).toContain("at Q_ZERO")
    }))
})
