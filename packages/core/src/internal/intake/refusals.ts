/**
 * Makes the errors of the hot paths. They carry the items that were not taken, and have no stack trace.
 */
import {
  CommandDropped,
  InvalidKey,
  InvalidWeight,
  type Malformation,
  MalformedItem,
  OfferTimeout,
  PoolClosed,
  ProcessorClosed,
  QueueClosed,
  QueueFull,
  type Refusal,
  TooManyItems
} from "../../QueueError.ts"
import { withoutStack } from "../shapes/withoutStack.ts"

export const queueFull = <A>(refusal: Refusal<A>, retryAfterMillis: number | undefined): QueueFull<A> =>
  withoutStack(() => new QueueFull<A>({ ...refusal, retryAfterMillis }))

export const offerTimeout = <A>(
  refusal: Refusal<A>,
  timeoutMillis: number,
  retryAfterMillis: number | undefined
): OfferTimeout<A> => withoutStack(() => new OfferTimeout<A>({ ...refusal, timeoutMillis, retryAfterMillis }))

export const queueClosed = <A>(queue: string, taken: number, notTaken: ReadonlyArray<A>): QueueClosed<A> =>
  withoutStack(() => new QueueClosed<A>({ queue, taken, notTaken }))

export const invalidWeight = <A>(refusal: Refusal<A>, weight: number, capacity: number): InvalidWeight<A> =>
  withoutStack(() => new InvalidWeight<A>({ ...refusal, weight, capacity }))

export const tooManyItems = <A>(refusal: Refusal<A>, capacity: number): TooManyItems<A> =>
  withoutStack(() => new TooManyItems<A>({ ...refusal, capacity }))

export const malformedItem = <A>(
  refusal: Refusal<A>,
  fault: { readonly reason: Malformation; readonly path: string; readonly detail: string }
): MalformedItem<A> => withoutStack(() => new MalformedItem<A>({ ...refusal, ...fault }))

export const invalidKey = <A = never>(
  { key, limit, queue }: { readonly queue: string; readonly key: unknown; readonly limit: string },
  { item, notTaken, taken }: Omit<Refusal<unknown>, "queue"> = { item: undefined, taken: 0, notTaken: [] }
): InvalidKey<A> => withoutStack(() => new InvalidKey<A>({ queue, key, limit, item, taken, notTaken }))

export const poolClosed = <C>(queue: string, command: C): PoolClosed<C> =>
  withoutStack(() => new PoolClosed<C>({ queue, command }))

export const commandDropped = <C>(queue: string, command: C, reason: string, started: boolean): CommandDropped<C> =>
  withoutStack(() => new CommandDropped<C>({ queue, command, reason, started }))

export const processorClosed = (queue: string): ProcessorClosed => withoutStack(() => new ProcessorClosed({ queue }))
