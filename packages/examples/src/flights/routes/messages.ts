/**
 * What the two processes say to each other, over the channel that Node opens between them.
 */

/** To the process of the workers. It ends by itself when the channel is closed. */
export type Order =
  /** From now on, a worker that has counted a batch says so, and then waits for ever. */
  | "hold"
  /** End as one should: with what is in hand done, and no lease left behind. */
  | "stop"

/** From the process of the workers: a batch is counted, and committed, and will not be settled. */
export interface Held {
  readonly held: number
}
