/**
 * What the traders want: commands at random, the same in every run. Some are bound to be rejected.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Action, Command } from "./Book.ts"

export const instruments = ["apples", "bread", "cheese", "dates", "eggs", "figs"]

const pick = <A>(values: ReadonlyArray<A>) => Effect.map(Random.nextIntBetween(0, values.length), (n) => values[n])

/** Orders have few names, so that there are some to be cancelled, and some that are placed twice. */
const orders = Array.from({ length: 30 }, (_, n) => `order ${n + 1}`)

const action: Effect.Effect<Action> = Effect.gen(function*() {
  const order = yield* pick(orders)
  const chance = yield* Random.nextIntBetween(0, 10)
  if (chance < 2) return { _tag: "Cancel", order }
  if (chance < 5) return { _tag: "Match" }
  const side = (yield* Random.nextBoolean) ? "buy" : "sell"
  const price = yield* Random.nextIntBetween(90, 111)
  const quantity = yield* Random.nextIntBetween(1, 10)
  return { _tag: "Place", order: { order, side, price, quantity } }
})

/** The commands of so many traders, each of whom has a list. */
export const commandsOf = (
  process: string,
  options: { readonly traders: number; readonly commands: number; readonly firstId: number }
): Effect.Effect<ReadonlyArray<ReadonlyArray<Command>>> => {
  const { commands, firstId, traders } = options
  return Effect.forEach(
    Array.from({ length: traders }, (_, trader) => trader),
    (trader) =>
      Effect.forEach(Array.from({ length: commands }, (_, n) => n), (n) =>
        Effect.gen(function*() {
          const command: Command = {
            id: firstId + trader * commands + n,
            instrument: yield* pick(instruments),
            action: yield* action
          }
          return command
        }))
  ).pipe(Effect.withRandom(Random.make(process)))
}
