/**
 * What is called later must be a function when the queue is made. Otherwise every item is lost, one by one, or an offer
 * dies long afterwards.
 */
import { describe, expect, it } from "@effect/vitest"
import {
  Backpressure,
  BatchQueue,
  BatchStore,
  Buffer,
  Codec,
  KeyedBatch,
  PolicyQueue,
  QueueError,
  ShardPool,
  WriteBehind
} from "@sluice/core"
import { Config, Context, Effect, Layer, Schema } from "effect"
import type { Scope } from "effect"

type Make = (options: any) => Effect.Effect<unknown, unknown, Scope.Scope | BatchStore.BatchStore>

/** A system, options that are valid, and of each function: its field, whether it is required, and how it is given. */
interface System {
  readonly make: Make
  readonly valid: object
  readonly required: ReadonlyArray<string>
  readonly optional: ReadonlyArray<string>
}

const done = () => Effect.void

const systems: Readonly<Record<string, System>> = {
  WriteBehind: {
    make: WriteBehind.make,
    valid: { name: "q", capacity: 8, batchBytes: { limit: 8, of: () => 1 }, flush: done },
    required: ["flush", "batchBytes.of"],
    optional: ["weigh", "shardBy", "onDrop", "retry", "while"]
  },
  BatchQueue: {
    make: BatchQueue.make,
    valid: {
      name: "q",
      schema: Schema.Number,
      format: Codec.json,
      buffer: Buffer.merging((item: number) => item, (held) => held),
      process: done
    },
    required: [
      "schema",
      "process",
      "format.encode",
      "format.decode",
      "buffer.empty",
      "buffer.push",
      "buffer.size",
      "buffer.pushes",
      "buffer.items",
      "buffer.key"
    ],
    optional: ["retry", "while", "decide", "onProcessError", "onInternalError", "onDrop", "format.carries"]
  },
  KeyedBatch: {
    make: KeyedBatch.make as Make,
    valid: { name: "q", load: () => Effect.succeed(0) },
    required: ["load"],
    optional: ["initial", "save", "shardOf"]
  },
  ShardPool: {
    make: ShardPool.make as Make,
    valid: { name: "q", key: String, execute: done },
    required: ["key", "execute"],
    optional: ["currentVersion", "isRejection", "shardOf"]
  },
  PolicyQueue: {
    make: PolicyQueue.make,
    valid: { name: "q", capacity: 8, policy: Backpressure.reject },
    required: ["policy.pair"],
    optional: ["weigh", "onDrop", "onCoalesce", "onInterrupt"]
  },
  queue: {
    make: (options) => Backpressure.queue(options.policy, options),
    valid: { name: "q", capacity: 8, policy: Backpressure.reject },
    required: ["policy.pair"],
    optional: ["weigh", "onDrop"]
  }
}

/** Options in which a field, or one within it, has another value. */
const withField = (options: object, path: string, value: unknown): object => {
  const [field, inner] = path.split(".")
  if (inner === undefined) return { ...options, [field]: value }
  return { ...options, [field]: { ...(options as any)[field], [inner]: value } }
}

const isTold = (make: Effect.Effect<unknown, unknown, Scope.Scope | BatchStore.BatchStore>, expected: object) =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(make)
    expect(error).toBeInstanceOf(QueueError.InvalidOption)
    expect(error).toMatchObject(expected)
  }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory))

for (const [name, { make, optional, required, valid }] of Object.entries(systems)) {
  describe(`${name}: an InvalidOption names the field and the value of`, () => {
    it.effect("nothing where all is well", () =>
      Effect.asVoid(make(valid)).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory)))

    for (const field of required) {
      it.effect(`${field}, where it is missing`, () =>
        isTold(make(withField(valid, field, undefined)), { queue: "q", field, value: undefined }))
    }
    for (const field of [...required, ...optional]) {
      it.effect(`${field}, where it is of another kind`, () =>
        isTold(make(withField(valid, field, 7)), { queue: "q", field, value: 7 }))
    }
    for (const field of optional) {
      it.effect(`${field}, where it is null`, () =>
        isTold(make(withField(valid, field, null)), { queue: "q", field, value: null }))
    }
  })
}

describe("what is given as a policy", () => {
  const key = (item: number) => item
  const cases: ReadonlyArray<readonly [field: string, policy: unknown]> = [
    ["policy", "dropOldest"],
    ["policy", null],
    ["policy.pair", {}],
    ["policy.key", Backpressure.coalesceByKey(undefined as any)],
    ["policy.merge", Backpressure.coalesceByKey(key, { merge: 7 as any })],
    ["policy.whenFull", Backpressure.coalesceByKey(key, { whenFull: "dropOldest" as any })]
  ]
  for (const name of ["WriteBehind", "BatchQueue", "ShardPool", "PolicyQueue", "queue"]) {
    for (const [field, policy] of cases) {
      it.effect(`is looked at by ${name}: ${field}`, () => {
        const { make, valid } = systems[name]
        return isTold(make({ ...valid, batchBytes: undefined, policy }), { queue: "q", field })
      })
    }
  }
})

describe("a layer", () => {
  class Queue extends Context.Tag("test/Queue")<Queue, any>() {}
  const builds: Readonly<Record<string, (options: any) => Layer.Layer<any, unknown, any>>> = {
    WriteBehind: (options) => WriteBehind.layer(Queue, options),
    "WriteBehind.layerConfig": (options) => WriteBehind.layerConfig(Queue, options, { capacity: Config.succeed(8) }),
    BatchQueue: (options) => BatchQueue.layer(Queue, options),
    "BatchQueue.layerConfig": (options) => BatchQueue.layerConfig(Queue, options, { workers: Config.succeed(1) }),
    KeyedBatch: (options) => KeyedBatch.layer(Queue, options),
    "KeyedBatch.layerConfig": (options) => KeyedBatch.layerConfig(Queue, options, { shards: Config.succeed(1) }),
    ShardPool: (options) => ShardPool.layer(Queue, options),
    "ShardPool.layerConfig": (options) => ShardPool.layerConfig(Queue, options, { shards: Config.succeed(1) })
  }
  for (const [name, layer] of Object.entries(builds)) {
    it.effect(`of ${name} says so as well`, () => {
      const { required: [field], valid } = systems[name.split(".")[0]]
      return isTold(Layer.build(layer(withField(valid, field, undefined))) as Effect.Effect<unknown, unknown, any>, {
        field,
        value: undefined
      })
    })
  }
})

it("a codec throws an InvalidOption", () => {
  expect(() => Codec.make(undefined as any)).toThrow(QueueError.InvalidOption)
  expect(() => Codec.make(Schema.Number, { format: { ...Codec.json, decode: undefined as any } })).toThrow(
    "option \"format.decode\" is undefined, but must be a function"
  )
})

it.effect("flush of a BatchQueue is no function: that is process", () =>
  isTold(BatchQueue.make({ ...systems.BatchQueue.valid, flush: done } as any), { field: "flush", value: done }))
