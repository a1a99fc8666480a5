/**
 * Counts by name, and their sums.
 */
import type { Trigger } from "../../Batch.ts"

export const sum = <A>(items: ReadonlyArray<A>, f: (item: A) => number): number =>
  items.reduce((total, item) => total + f(item), 0)

export const countsByTrigger = (): Record<Trigger, number> => ({
  size: 0,
  pushes: 0,
  bytes: 0,
  linger: 0,
  manual: 0,
  shutdown: 0
})

/** The counts of several sources, name by name. */
export const addUp = (sources: ReadonlyArray<Readonly<Record<string, number>>>): Record<string, number> => {
  // Reasons may have any name.
  const counts: Record<string, number> = Object.create(null)
  for (const source of sources) {
    for (const name in source) counts[name] = (counts[name] ?? 0) + source[name]
  }
  return { ...counts }
}
