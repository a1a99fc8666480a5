/**
 * What a check says: numbers that were computed in two ways, and what is wrong with single rows.
 */

/** A flight as it stands in the input. */
export interface InputFlight {
  readonly seq: number
  readonly date: string
  readonly delay: number
  readonly distance: number
  readonly origin: string
  readonly destination: string
}

/** One number that was computed in two ways. */
export interface Claim {
  readonly claim: string
  readonly expected: number
  readonly actual: number
  readonly holds: boolean
}

export interface Verdict {
  readonly holds: boolean
  readonly claims: ReadonlyArray<Claim>
  /** The first few things that are wrong with single rows. */
  readonly examples: ReadonlyArray<string>
}

const examplesShown = 5

export const claim = (name: string, expected: number, actual: number): Claim => ({
  claim: name,
  expected,
  actual,
  holds: expected === actual
})

/** A number that has a limit: `expected` is the most that it may be. */
export const atMost = (name: string, limit: number, actual: number): Claim => ({
  claim: name,
  expected: limit,
  actual,
  holds: actual <= limit
})

export const verdictOf = (claims: ReadonlyArray<Claim>, examples: ReadonlyArray<string>): Verdict => ({
  holds: claims.every(({ holds }) => holds),
  claims,
  examples: examples.slice(0, examplesShown)
})

export const joined = (verdicts: ReadonlyArray<Verdict>): Verdict =>
  verdictOf(verdicts.flatMap(({ claims }) => claims), verdicts.flatMap(({ examples }) => examples))

export const sumOf = <A>(items: Iterable<A>, f: (item: A) => number): number => {
  let sum = 0
  for (const item of items) sum += f(item)
  return sum
}

export const delayOf = ({ delay }: InputFlight): number => delay
