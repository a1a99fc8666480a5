// A user's own test double of each interface, written in full: what it needs is what is public.
import type { BatchQueue, KeyedBatch, QueueMetrics, QueueStore, ShardPool, WriteBehind } from "@sluice/core"
import type { WriteCoordinator } from "@sluice/sql"
import { Context, Effect, Layer, Option, Queue, Sink, Stream, type Take } from "effect"

export interface Order {
  readonly key: string
  readonly amount: number
}

export interface Account {
  readonly balance: number
}

export class Orders extends Context.Tag("app/Orders")<Orders, WriteBehind.WriteBehind<Order>>() {}
export class Emails extends Context.Tag("app/Emails")<Emails, BatchQueue.BatchQueue<Order>>() {}
export class Accounts extends Context.Tag("app/Accounts")<Accounts, KeyedBatch.KeyedBatch<string, Account>>() {}
export class Books extends Context.Tag("app/Books")<Books, ShardPool.ShardPool<Order, number>>() {}
export class Writes extends Context.Tag("app/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const all = <A>(items: Iterable<A>) => ({ accepted: Array.from(items).length, coalesced: 0, dropped: 0 })

const batchesByTrigger = { size: 0, pushes: 0, bytes: 0, linger: 0, manual: 0, shutdown: 0 }

const snapshot: QueueMetrics.Snapshot = {
  offered: 0,
  refused: 0,
  coalesced: 0,
  dropped: 0,
  droppedByReason: {},
  settled: 0,
  held: 0,
  depth: 0,
  inFlight: 0,
  batches: 0,
  batchesByTrigger,
  retries: 0
}

const settlement = (items: ReadonlyArray<unknown>): WriteBehind.Settlement => ({
  settled: items.length,
  coalesced: 0,
  dropped: 0,
  droppedByReason: {}
})

export const orders: WriteBehind.WriteBehind<Order> = {
  queueName: "orders",
  offer: () => Effect.succeed("accepted"),
  offerAll: (items) => Effect.succeed(all(items)),
  sink: Sink.map(Sink.collectAll<Order>(), all),
  enqueue: Effect.runSync(Queue.unbounded<Order>()),
  enqueueTakes: Effect.runSync(Queue.unbounded<Take.Take<Order>>()),
  unsafeOffer: () => "accepted",
  offerAllOrNone: (items) => Effect.succeed(all(items)),
  offerSettled: (items) => Effect.succeed(settlement(items)),
  offerTracked: (items) => Effect.succeed(Effect.succeed(settlement(items))),
  flushNow: Effect.succeed({ settled: 0, dropped: 0 }),
  awaitIdle: Effect.void,
  depth: Effect.succeed(0),
  inFlight: Effect.succeed(0),
  events: Stream.empty,
  metrics: Effect.succeed(snapshot)
}

const none: QueueStore.Amount = { batches: 0, items: 0 }

export const emails: BatchQueue.BatchQueue<Order> = {
  queueName: "emails",
  offer: () => Effect.succeed("accepted"),
  offerAll: (items) => Effect.succeed(all(items)),
  sink: Sink.map(Sink.collectAll<Order>(), all),
  enqueue: Effect.runSync(Queue.unbounded<Order>()),
  enqueueTakes: Effect.runSync(Queue.unbounded<Take.Take<Order>>()),
  unsafeOffer: () => "accepted",
  offerStored: () => Effect.succeed("stored"),
  offerAllOrNone: (items) => Effect.succeed(all(items)),
  offerStoredAllOrNone: (items) =>
    Effect.succeed({ stored: items.length, duplicates: 0, dropped: 0, droppedByReason: {} }),
  flush: Effect.void,
  pause: Effect.void,
  resume: Effect.void,
  isPaused: Effect.succeed(false),
  deadLetters: {
    list: () => Effect.succeed([]),
    inspect: () => Effect.succeed(Option.none()),
    redrive: () => Effect.succeed(none),
    discard: () => Effect.succeed(none)
  },
  stats: Effect.succeed({
    pending: none,
    dead: none,
    newer: none,
    oldestAtMillis: undefined,
    heldUntilMillis: undefined
  }),
  events: Stream.empty,
  metrics: Effect.succeed({
    offered: 0,
    refused: 0,
    coalesced: 0,
    duplicates: 0,
    dropped: 0,
    droppedByReason: {},
    stored: 0,
    storedByTrigger: batchesByTrigger,
    settled: 0,
    retries: 0,
    batchesFailed: 0,
    leasesLost: 0,
    deadLettered: 0,
    redriven: 0,
    discarded: 0,
    held: 0,
    depth: 0,
    buffered: 0,
    inFlight: 0
  })
}

export const accounts: KeyedBatch.KeyedBatch<string, Account> = {
  queueName: "accounts",
  modify: (_key, run) => Effect.sync(() => run({ balance: 0 })[0]),
  modifyEffect: (_key, run) => Effect.map(run({ balance: 0 }), ([result]) => result),
  mutate: (_key, run) => Effect.sync(() => run({ balance: 0 })),
  events: Stream.empty,
  metrics: Effect.succeed({
    offered: 0,
    refused: 0,
    cancelled: 0,
    settled: 0,
    succeeded: 0,
    failed: 0,
    held: 0,
    depth: 0,
    inFlight: 0,
    batches: 0,
    batchesFailed: 0,
    loads: 0,
    saves: 0,
    keys: 0
  })
}

export const books: ShardPool.ShardPool<Order, number> = {
  queueName: "books",
  submit: ({ amount }) => Effect.succeed(amount),
  offer: () => Effect.succeed("accepted"),
  drain: () => Effect.void,
  depth: Effect.succeed(0),
  events: Stream.empty,
  metrics: Effect.succeed({
    offered: 0,
    refused: 0,
    cancelled: 0,
    dropped: 0,
    droppedByReason: {},
    settled: 0,
    succeeded: 0,
    rejected: 0,
    failed: 0,
    conflicts: 0,
    held: 0,
    depth: 0,
    inFlight: 0,
    keys: 0
  })
}

export const writes: WriteCoordinator.WriteCoordinator = {
  queueName: "writes",
  submit: (write) => write,
  changes: Stream.empty,
  metrics: Effect.succeed({
    name: "writes",
    offered: 0,
    refused: 0,
    cancelled: 0,
    settled: 0,
    succeeded: 0,
    failed: 0,
    held: 0,
    depth: 0,
    inFlight: 0,
    waiting: 0,
    capacity: 0,
    batches: 0
  })
}

export const Doubles = Layer.mergeAll(
  Layer.succeed(Orders, orders),
  Layer.succeed(Emails, emails),
  Layer.succeed(Accounts, accounts),
  Layer.succeed(Books, books),
  Layer.succeed(Writes, writes)
)
