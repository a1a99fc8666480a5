/**
 * What the two processes say to each other, over the channel that Node opens between them.
 */

/** To the process of the workers. It ends by itself when the channel is closed. */
export type Order =
  /** The answer to "ready": begin. */
  | "count"
  /** The same, or later: from now on, a worker that has counted a batch says so, and then waits for ever. */
  | "hold"
  /** End as one should: with what is in hand done, and no lease left behind. */
  | "stop"

/** From the process of the workers. */
export type Word =
  /** It has begun to listen, and waits for an order. */
  | { readonly _tag: "Ready" }
  /** It has heard "hold". */
  | { readonly _tag: "Holding" }
  /** This batch is counted, and committed, and will not be settled. */
  | { readonly _tag: "Held"; readonly batch: number }
