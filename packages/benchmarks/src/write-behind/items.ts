/** What is queued: objects that exist already, so that only queueing is measured. */

export interface Item {
  readonly id: number
  readonly key: string
}

/** How many items a consumer takes at once. */
export const batchSize = 100

/** Items with a key of their own each, or with so many keys in turn. */
export const makeItems = (count: number, keys = count): ReadonlyArray<Item> => {
  const names = Array.from({ length: keys }, (_, index) => `key-${index}`)
  return Array.from({ length: count }, (_, id) => ({ id, key: names[id % keys] }))
}

/** A case that loses items, or skips work, must not look fast. */
export const expectCount = (what: string, actual: number, expected: number): void => {
  if (actual !== expected) throw new Error(`${what}: ${actual} items instead of ${expected}`)
}
