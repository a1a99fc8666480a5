/**
 * What the flights were told, each by its own answer; for the check, which compares it with what is in the tables.
 */

export class Told {
  /** For each airport, which of its flights each one was: the numbers as they were answered. */
  readonly numbers = new Map<string, Array<number>>()
  /** How many flights failed to be counted, with all others of their batch, and were tried again. */
  countedAgain = 0
  /** The versions of the slots that were given, by the flight. */
  readonly given = new Map<number, number>()
  /** The flights that were refused a slot. */
  readonly refused = new Set<number>()
  /** Commands whose answer was lost, and which were submitted again. */
  answersLost = 0
  /** Those of them that had been given a slot before. */
  found = 0

  numbered(airport: string, number: number): void {
    const numbers = this.numbers.get(airport)
    if (numbers === undefined) this.numbers.set(airport, [number])
    else numbers.push(number)
  }
}
