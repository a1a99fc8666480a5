import * as NodeContext from "@effect/platform-node/NodeContext"
import { Effect, Option } from "effect"
import { expect, it } from "vitest"
import { parse } from "../src/flights/options.ts"

const parsed = (...args: ReadonlyArray<string>) =>
  Effect.runPromise(Effect.either(parse(["node", "flights", ...args])).pipe(Effect.provide(NodeContext.layer)))

it("without options, everything has its default", async () => {
  expect(await parsed()).toMatchObject({
    right: Option.some({
      policy: "suspend",
      pace: { _tag: "AsFastAsPossible" },
      seed: 7,
      sinkDelay: 8,
      file: Option.none(),
      db: Option.none(),
      json: false
    })
  })
})

it("reads every option", async () => {
  const args = ["--policy", "reject", "--rate", "12.5", "--seed", "-3", "--sink-delay=0", "--file", "a", "--db", "b"]
  expect(await parsed(...args, "--json")).toMatchObject({
    right: Option.some({
      policy: "reject",
      pace: { _tag: "Rate", perSecond: 12.5 },
      seed: -3,
      sinkDelay: 0,
      file: Option.some("a"),
      db: Option.some("b"),
      json: true
    })
  })
  expect(await parsed("--speed", "60")).toMatchObject({ right: { value: { pace: { _tag: "Speed", factor: 60 } } } })
})

it.each<readonly [string, ReadonlyArray<string>, string]>([
  ["a rate of zero", ["--rate", "0"], "--rate must be a number greater than 0"],
  ["a rate that is no number", ["--rate", "fast"], "--rate must be a number greater than 0"],
  ["an empty rate", ["--rate", ""], "--rate must be a number greater than 0"],
  ["a rate without end", ["--rate", "Infinity"], "--rate must be a number greater than 0"],
  ["a negative speed", ["--speed=-1"], "--speed must be a number greater than 0"],
  ["a rate and a speed", ["--rate", "5", "--speed", "5"], "--rate and --speed exclude each other"],
  ["a seed that is no integer", ["--seed", "1.5"], "--seed must be an integer"],
  ["a delay that is too long", ["--sink-delay", "10001"], "--sink-delay must be an integer from 0 to 10000"],
  ["a policy that does not exist", ["--policy", "hope"], "--policy must be one of suspend, reject, dropNewest"],
  ["a database without a name", ["--db", ""], "--db must be a path"],
  ["an argument too many", ["flights.ndjson"], "flights.ndjson"],
  ["an option without its value", ["--rate"], "--rate"]
])("%s is refused", async (_, args, message) => {
  const result = await parsed(...args)
  expect(result).toMatchObject({ left: { _tag: "BadOption", message: expect.stringContaining(message) } })
})
