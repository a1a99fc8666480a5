/** The commands, the work that all contenders do for one, and the books that are kept of the answers. */

/** Adds an amount to what its key has. */
export interface Command {
  readonly key: string
  /** The number of its key. */
  readonly index: number
  readonly amount: number
}

/** A prime that divides no number of keys: steps of it visit each key once before they come back to the first. */
const stride = 611_953

/** The same things in an order that jumps. */
export const scattered = <A>(things: ReadonlyArray<A>): ReadonlyArray<A> =>
  things.map((_, position) => things[position * stride % things.length])

/**
 * A command for each of so many keys. Their names do not lie in memory in the order of the commands: with a million
 * keys, the next one is never where the processor expects it.
 */
export const makeCommands = (keys: number): ReadonlyArray<Command> =>
  scattered(Array.from({ length: keys }, (_, number) => `key-${number}`))
    .map((key, index) => ({ key, index, amount: 1 }))

/** What each key has. The work for a command is the same for everybody, and not what is measured. */
export class Totals {
  private readonly totals: Float64Array

  constructor(keys: number) {
    this.totals = new Float64Array(keys)
  }

  add({ amount, index }: Command): number {
    const total = this.totals[index] + amount
    this.totals[index] = total
    return total
  }
}

/**
 * Hands out the commands in turn, again and again, and notes the answers, in a few nanoseconds: it is a part of what is
 * timed.
 *
 * Every command adds 1. So the answers of a key are 1, 2, 3, ..., and key and answer together say which of all calls it
 * was, whoever was ahead of whom.
 */
export class Books {
  private readonly commands: ReadonlyArray<Command>
  /** How many calls there were before this sample, there have been, and are to be. */
  private first = 0
  private called: number
  private last = 0
  private waiting = 0
  private mostWaiting = 0
  private answers = new Uint8Array(0)

  /** There have been so many rounds of all commands already. */
  constructor(commands: ReadonlyArray<Command>, rounds = 0) {
    this.commands = commands
    this.called = rounds * commands.length
  }

  /** Before a sample of so many calls. */
  open(calls: number): void {
    this.first = this.called
    this.last = this.called + calls
    this.mostWaiting = 0
    this.answers = new Uint8Array(calls)
  }

  /** The next command to call for, as long as there is one in this sample. */
  next(): Command | undefined {
    if (this.called === this.last) return undefined
    this.waiting += 1
    if (this.waiting > this.mostWaiting) this.mostWaiting = this.waiting
    return this.commands[this.called++ % this.commands.length]
  }

  note({ index }: Command, answer: number): void {
    this.waiting -= 1
    this.answers[(answer - 1) * this.commands.length + index - this.first] += 1
  }

  /**
   * After a sample: fails unless every call has been answered, and each with an answer of its own; and unless all
   * callers have waited at the same time, because somebody who answers them one by one is compared with others.
   */
  close(who: string, callers: number): void {
    const { answers, called, commands, first, last, mostWaiting } = this
    if (called < last) throw new Error(`${who}: ${called - first} calls instead of ${last - first}`)
    if (mostWaiting !== callers) throw new Error(`${who}: ${mostWaiting} callers at a time instead of ${callers}`)
    const wrong = answers.findIndex((times) => times !== 1)
    if (wrong < 0) return
    const total = Math.floor((first + wrong) / commands.length) + 1
    const key = (first + wrong) % commands.length
    throw new Error(`${who}: key number ${key} answered ${total} ${answers[wrong]} times`)
  }
}
