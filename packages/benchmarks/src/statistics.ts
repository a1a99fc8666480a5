/** The arithmetic of a report. */

/** The value that `part` of the values are below, between neighbours where it falls there. There must be a value. */
export const quantile = (values: ReadonlyArray<number>, part: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const position = (sorted.length - 1) * part
  const below = Math.floor(position)
  const above = Math.ceil(position)
  return sorted[below] + (sorted[above] - sorted[below]) * (position - below)
}

/** What many rounds said of one figure. */
export interface Summary {
  readonly median: number
  /** Half of the rounds lie between these two. */
  readonly low: number
  readonly high: number
}

export const summarize = (values: ReadonlyArray<number>): Summary => ({
  median: quantile(values, 0.5),
  low: quantile(values, 0.25),
  high: quantile(values, 0.75)
})

/**
 * Divides round by round. What slows a machine down for a second slows both sides of a round down, and so changes their
 * quotient little; a quotient of two medians could compare a quiet moment with a busy one.
 */
export const quotients = (above: ReadonlyArray<number>, below: ReadonlyArray<number>): ReadonlyArray<number> =>
  above.map((value, round) => value / below[round])

/** By how much values that were taken at equal distances grow from one to the next, by least squares. */
export const slope = (values: ReadonlyArray<number>): number => {
  const middle = (values.length - 1) / 2
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const above = values.reduce((sum, value, at) => sum + (at - middle) * (value - mean), 0)
  const below = values.reduce((sum, _, at) => sum + (at - middle) ** 2, 0)
  return below === 0 ? 0 : above / below
}
