/** The items, what is known of how they are encoded, and the books that a handler keeps of them. */
import { Codec, Result } from "@sluice/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Small, and of a schema that is fast: a slow one costs everybody as much, and would hide what the rest costs. */
export const Item = Schema.Struct({ id: Schema.Number, account: Schema.String, amount: Schema.Number })
export type Item = typeof Item.Type

export const itemOf = (id: number): Item => ({
  id,
  account: `account-${id % 1_000}`,
  amount: id % 10_000
})

/** Items with the ids 0, 1, 2, ... */
export const makeItems = (count: number): ReadonlyArray<Item> => Array.from({ length: count }, (_, id) => itemOf(id))

/** How many items share a batch, where it is not said otherwise. */
export const batchSize = 100

const codec = Codec.make(Item)

/** What a queue would store. */
export const encodeBatch = (items: ReadonlyArray<Item>): Uint8Array =>
  codec.encodeBatch(
    items.map((item) => Result.getOrThrow(codec.encodeItem(item)).value),
    { trigger: "size", openedAtMillis: 0 }
  )

/** What a queue has stored. */
export const decodeBatch = (payload: Uint8Array): ReadonlyArray<Item> =>
  Result.getOrThrow(codec.decodeBatch(payload)).items

/** Fails unless items are what was offered under their ids. */
export const expectIntact = (items: ReadonlyArray<Item>): void => {
  for (const item of items) {
    const { account, amount } = itemOf(item.id)
    if (item.account !== account || item.amount !== amount) {
      throw new Error(`${JSON.stringify(item)} is not what was offered`)
    }
  }
}

/** Of so many items a handler keeps one, whose content is looked at later. */
const oneIn = 50

/** Notes which items have come out, in a few nanoseconds: it is a part of what is timed. */
export class Seen {
  private count = 0
  private times: Array<number> = []
  private kept: Array<Item> = []

  see(item: Item): void {
    this.count += 1
    this.times[item.id] = (this.times[item.id] ?? 0) + 1
    if (this.count % oneIn === 1) this.kept.push(item)
  }

  seeAll(items: ReadonlyArray<Item>): void {
    for (const item of items) this.see(item)
  }

  /** Fails unless the items 0, 1, 2, ..., `items` - 1 have come out, each so many times, and forgets them. */
  expect(who: string, items: number, times = 1): Effect.Effect<void> {
    return Effect.sync(() => {
      const { count, kept } = this
      const wrong = Array.from({ length: items }, (_, id) => id).find((id) => this.times[id] !== times)
      if (count !== items * times || wrong !== undefined) {
        const example = wrong === undefined ? "" : `; ${wrong} came ${this.times[wrong] ?? 0} times`
        throw new Error(`${who}: ${count} items instead of ${items}, each ${times} times${example}`)
      }
      this.count = 0
      this.times = []
      this.kept = []
      expectIntact(kept)
    })
  }
}
