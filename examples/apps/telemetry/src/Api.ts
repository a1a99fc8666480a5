// What the service takes in, without code of the server: a client imports it, too.
import { HttpApi } from "@effect/platform"
import { SluiceApi } from "@sluice/http"
import { Schema } from "effect"

export class Reading extends Schema.Class<Reading>("Reading")({
  sensor: Schema.NonEmptyString,
  /** The number of the reading, which grows with each one of its sensor. */
  number: Schema.NonNegativeInt,
  celsius: Schema.Number
}) {}

export class Api extends HttpApi.make("telemetry").addHttpApi(SluiceApi.make({ readings: Reading })) {}
