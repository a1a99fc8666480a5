import type { BackingQueue, Strategy } from "@sluice/core"
import * as Chunk from "effect/Chunk"
import type * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as MutableQueue from "effect/MutableQueue"
import * as MutableRef from "effect/MutableRef"
import * as Queue from "effect/Queue"

/** A strategy of ours that does as one of Effect's does, such as that of its bounded queue. */
export const ofEffect = <A>(
  strategy: Queue.Strategy<A>,
  backing: BackingQueue.BackingQueue<A>
): Strategy.Strategy<A> => {
  const effectBacking: Queue.BackingQueue<A> = {
    [Queue.BackingQueueTypeId]: { _A: (_: any) => _ },
    capacity: () => backing.capacity(),
    length: () => backing.length(),
    poll: (whenEmpty) => backing.poll(whenEmpty),
    pollUpTo: (limit) => Chunk.unsafeFromArray(backing.pollUpTo(limit)),
    offer: (item) => backing.offer(item),
    offerAll: (items) => Chunk.unsafeFromArray(backing.offerAll(items))
  }
  const noTakers = MutableQueue.unbounded<Deferred.Deferred<A>>()
  const isShutdown = MutableRef.make(false)
  return {
    surplusSize: () => strategy.surplusSize(),
    handleSurplus: (items) => strategy.handleSurplus(items, effectBacking, noTakers, isShutdown),
    onRoom: () => strategy.unsafeOnQueueEmptySpace(effectBacking, noTakers),
    shutdown: Effect.zipRight(Effect.sync(() => MutableRef.set(isShutdown, true)), strategy.shutdown)
  }
}
