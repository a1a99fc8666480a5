import * as Table from "@sluice/core/unstable/OptionTable"
import type { Duration } from "effect"
import { describe, expect, it } from "tstyche"

interface Options {
  readonly name: string
  readonly size?: number | undefined
  readonly every?: Duration.DurationInput | undefined
  readonly isolate?: "bisect" | "each" | undefined
  readonly limits?: { readonly depth?: number | undefined } | undefined
  readonly onDrop?: ((item: string) => void) | undefined
}

const table = {
  name: Table.name,
  size: Table.withDefault(Table.positiveInteger, 10),
  every: Table.withDefault(Table.duration, "1 second"),
  isolate: Table.optional(Table.oneOf("bisect", "each"), "none"),
  limits: Table.optional(Table.object({ depth: Table.withDefault(Table.positiveInteger, 1) }, "an object"), "none"),
  onDrop: Table.optionalCallback<(item: string) => void>("none")
}

declare const complete: (table: Table.Of<Options>) => void

describe("a table", () => {
  it("has every option of the interface", () => {
    const { every, ...others } = table
    expect(complete).type.toBeCallableWith({ ...others, every })
    expect(complete).type.not.toBeCallableWith({ ...others })
  })

  it("has no option that the interface lacks", () => {
    const { every, isolate, limits, name, onDrop, size } = table
    expect(complete).type.toBeCallableWith({ every, isolate, limits, name, onDrop, size })
    expect(complete).type.not.toBeCallableWith({ every, isolate, limits, name, onDrop, size, speed: size })
  })

  it("takes what the interface takes", () => {
    const { every, isolate, limits, name, onDrop, size } = table
    expect(complete).type.not.toBeCallableWith({ every: size, isolate, limits, name, onDrop, size })
    expect(complete).type.not.toBeCallableWith({ every, isolate, limits, name, onDrop, size: Table.positiveInteger })
    expect(complete).type.not.toBeCallableWith({ every, isolate: Table.oneOf("each"), limits, name, onDrop, size })
    const shallow = Table.optional(Table.object({ depth: Table.positiveInteger }, "an object"), "none")
    expect(complete).type.not.toBeCallableWith({ every, isolate, limits: shallow, name, onDrop, size })
  })
})

describe("what comes from a table", () => {
  it("is checked to values with their defaults, and durations in milliseconds", () => {
    expect<Table.Checked<typeof table>>().type.toBe<{
      readonly name: string
      readonly size: number
      readonly everyMillis: number
      readonly isolate: "bisect" | "each" | undefined
      readonly limits:
        | Table.Checked<{ readonly depth: Table.Entry<number | undefined, number, number, ""> }>
        | undefined
      readonly onDrop: ((item: string) => void) | undefined
    }>()
  })

  it("may be set by a configuration where it is plain", () => {
    expect<Table.Configurable<typeof table, Options>>().type.toBe<{
      readonly size?: number
      readonly every?: Duration.DurationInput
      readonly isolate?: "bisect" | "each"
      readonly limits?: { readonly depth?: number }
    }>()
  })

  it("may not be set within an object that is not plain", () => {
    const bytes = { limit: Table.positiveInteger, of: Table.callback<(item: string) => number>() }
    const mixed = { bytes: Table.object(bytes, "an object with of"), size: Table.positiveInteger }
    type Mixed = { readonly bytes: { readonly limit: number }; readonly size: number }
    expect<Table.Configurable<typeof mixed, Mixed>>().type.toBe<{ readonly size?: number }>()
  })
})
