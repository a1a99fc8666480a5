/**
 * What errors say where their messages say too little.
 */
import { messageOf, prettyOf, withMessages } from "@sluice/core/unstable/ErrorText"
import { Cause, Data, Redacted, Schema } from "effect"
import { describe, expect, it } from "vitest"

class Bounced extends Data.TaggedError("Bounced")<{ readonly to?: unknown; readonly cause?: unknown }> {}
class Described extends Schema.TaggedError<Described>()("Described", { to: Schema.String }) {}

describe("the message of an error", () => {
  const circle = new Error("a circle")
  circle.cause = circle
  const deep: Record<string, unknown> = {}
  deep["self"] = deep
  const broken = {
    get broken() {
      throw new Error("on purpose")
    }
  }
  it.each<readonly [string, unknown, string]>([
    ["its own", new TypeError("no route"), "no route"],
    ["of one without a message: its tag and fields", new Bounced({ to: "ada" }), "Bounced {\"to\":\"ada\"}"],
    ["of one with neither: its tag", new Bounced({}), "Bounced"],
    ["of one with a schema: as it says it", new Described({ to: "ada" }), new Described({ to: "ada" }).message],
    ["with that of its cause", new Error("it failed", { cause: new Error("UNIQUE") }), "it failed: UNIQUE"],
    [
      "with those of the causes of its cause",
      new Error("a", { cause: new Bounced({ cause: new Error("c") }) }),
      "a: Bounced: c"
    ],
    [
      "which does not say its cause again",
      new Error("it failed: UNIQUE", { cause: new Error("UNIQUE") }),
      "it failed: UNIQUE"
    ],
    ["of one without a message, with its cause", new Bounced({ to: 1, cause: "UNIQUE" }), "Bounced {\"to\":1}: UNIQUE"],
    [
      "with a cause that is no error among its fields",
      new Bounced({ cause: { code: 7 } }),
      "Bounced {\"cause\":{\"code\":7}}"
    ],
    ["of a circle of causes", circle, "a circle"],
    ["of a circle of fields", new Bounced({ to: deep }), "Bounced {\"to\":{\"self\":{\"self\":{\"self\":\"...\"}}}}"],
    ["without what is redacted", new Bounced({ to: Redacted.make("secret") }), "Bounced {\"to\":\"<redacted>\"}"],
    ["with an error in a field", new Bounced({ to: new Error("inner") }), "Bounced {\"to\":\"inner\"}"],
    ["with a bigint", new Bounced({ to: 7n }), "Bounced {\"to\":\"7\"}"],
    ["with bytes, which it counts", new Bounced({ to: new Uint8Array(5000) }), "Bounced {\"to\":\"5000 bytes\"}"],
    [
      "with sets, and with maps",
      new Bounced({ to: [new Set([1]), new Map([[2, 3]])] }),
      "Bounced {\"to\":[[1],[[2,3]]]}"
    ],
    ["of what is no error", { code: 7 }, "{\"code\":7}"],
    ["of nothing", undefined, "undefined"],
    ["of what throws", broken, "an error of which there is no text"]
  ])("%s", (_, error, message) => {
    expect(messageOf(error)).toBe(message)
  })

  it("is short, however much its fields hold", () => {
    const many = Array.from({ length: 100_000 }, (_, i) => i)
    expect(messageOf(new Bounced({ to: many }))).toBe("Bounced {\"to\":[0,1,2,3,4,5,6,7,8,9,\"99990 more\"]}")
    expect(messageOf(new Bounced({ to: "x".repeat(1000) }))).toBe(`Bounced {"to":"${"x".repeat(200)}..."}`)
    const wide = Object.fromEntries(many.map((i) => [`field${i}`, "x".repeat(100)]))
    expect(messageOf(new Bounced({ to: wide }))).toMatch(/^Bounced \{"to":\{"field0":"x+","field1"/)
    expect(messageOf(new Bounced({ to: wide })).length).toBeLessThan(600)
  })
})

describe("a cause", () => {
  it("says the fields of an error without a message, beside its name, and keeps where it was made", () => {
    const [first, second] = prettyOf(Cause.fail(new Bounced({ to: "ada" }))).split("\n")
    expect(first).toBe("Bounced: {\"to\":\"ada\"}")
    expect(second).toContain("ErrorText.test.ts")
    expect(prettyOf(Cause.fail(new Bounced({})))).toContain("Bounced: An error has occurred")
  })

  it("says what the causes of its errors say, of all of them", () => {
    const wrapped = (inner: string) => new Error("it failed", { cause: new Error(inner) })
    const cause = Cause.parallel(
      Cause.fail(wrapped("first")),
      Cause.sequential(Cause.die(wrapped("second")), Cause.interrupt({ _tag: "None" } as never))
    )
    const lines = prettyOf(cause).split("\n").filter((line) => !line.startsWith("    at "))
    expect(lines).toEqual(["Error: it failed: first", "Error: it failed: second"])
  })

  it("is the same where nothing is to be added, with the same errors", () => {
    const error = new TypeError("no route")
    const told = withMessages(Cause.fail(error))
    expect(Cause.squash(told)).toBe(error)
    expect(Cause.squash(withMessages(Cause.fail("text")))).toBe("text")
  })

  it("has errors of the same class", () => {
    const told = Cause.squash(withMessages(Cause.fail(new Bounced({ to: "ada" }))))
    expect(told).toBeInstanceOf(Bounced)
    expect(told).toMatchObject({ _tag: "Bounced", to: "ada", message: "{\"to\":\"ada\"}" })
  })
})
