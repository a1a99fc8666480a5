/**
 * MessagePack as the format of a `BatchQueue`. It is about half as large as JSON and several times as fast to read,
 * because field names are written once for all items of a batch. It also supports dates, `NaN` and infinities,
 * `undefined`, bytes, and bigints of up to 64 bits.
 *
 * @since 0.1.0
 */
import type { Format } from "@sluice/core/Codec"
import { Packr } from "msgpackr/pack"

const least = -(2n ** 63n)
const most = 2n ** 64n - 1n

/** The values that MessagePack supports and JSON does not. */
const carries = (value: unknown): boolean => {
  switch (typeof value) {
    case "undefined":
    case "number":
      return true
    case "bigint":
      return value >= least && value <= most
    default:
      return value instanceof Date ? !Number.isNaN(value.getTime()) : value instanceof Uint8Array
  }
}

/**
 * The format, through [msgpackr](https://github.com/kriszyp/msgpackr) and its extension for records.
 *
 * @example
 * ```ts
 * import { BatchQueue } from "@sluice/core"
 * import { MessagePack } from "@sluice/sql"
 * import { Effect, Schema } from "effect"
 *
 * const orders = BatchQueue.make({
 *   name: "orders",
 *   schema: Schema.Struct({ id: Schema.String, at: Schema.DateFromSelf }),
 *   format: MessagePack.messagePack,
 *   process: () => Effect.void
 * })
 * ```
 *
 * @since 0.1.0
 * @category formats
 */
export const messagePack: Format = {
  name: "msgpack",
  // Each message must be complete by itself: a reused packer would leave out structures that it has already written.
  encode: (values) => new Packr(options).pack(values),
  decode: (bytes) => new Packr(options).unpack(bytes),
  carries
}

const options = { useRecords: true, mapsAsObjects: false, copyBuffers: true } as const
