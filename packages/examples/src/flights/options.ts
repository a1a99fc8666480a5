/**
 * The options of the command line.
 */
import type * as CliApp from "@effect/cli/CliApp"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import type * as ValidationError from "@effect/cli/ValidationError"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import { BadOption } from "./errors.ts"
import type { Pace } from "./pace.ts"
import { policies, type PolicyName } from "./queues.ts"

const defaultSeed = 7
const defaultSinkDelayMillis = 8
const defaultPort = 3000
const defaultHost = "127.0.0.1"
/** Of this the machine feels nothing, and there is always something to be seen. */
const defaultServeRate = 200
const policyNames = Object.keys(policies) as ReadonlyArray<PolicyName>

/** An option with a value that a Schema decodes. The message names the option, which those of the library do not. */
const option = <A, I extends string>(name: string, shape: string, schema: Schema.Schema<A, I>, limit: string) =>
  Options.text(name).pipe(
    Options.withPseudoName(shape),
    Options.withSchema(
      schema.annotations({ message: () => ({ message: `--${name} must be ${limit}`, override: true }) })
    )
  )

const positive = (name: string) =>
  option(name, "number", Schema.NumberFromString.pipe(Schema.finite(), Schema.positive()), "a number greater than 0")

const path = (name: string) => option(name, "path", Schema.NonEmptyString, "a path, not empty")

const command = {
  policy: option("policy", policyNames.join("|"), Schema.Literal(...policyNames), `one of ${policyNames.join(", ")}`)
    .pipe(
      Options.withDefault<PolicyName>("suspend"),
      Options.withDescription("What happens to a flight when the flights queue is full. Default: suspend.")
    ),
  rate: positive("rate").pipe(
    Options.optional,
    Options.withDescription("How many flights are offered a second. Default: as many as possible.")
  ),
  speed: positive("speed").pipe(
    Options.optional,
    Options.withDescription(
      "How much faster than they really left the flights are offered; 3600 is an hour in a second. Not with --rate."
    )
  ),
  seed: option("seed", "integer", Schema.NumberFromString.pipe(Schema.int()), "an integer").pipe(
    Options.withDefault(defaultSeed),
    Options.withDescription(`Which attempts to flush are made to fail. Default: ${defaultSeed}.`)
  ),
  sinkDelay: option(
    "sink-delay",
    "millis",
    Schema.NumberFromString.pipe(Schema.int(), Schema.between(0, 10_000)),
    "an integer from 0 to 10000, in milliseconds"
  ).pipe(
    Options.withDefault(defaultSinkDelayMillis),
    Options.withDescription(
      "What every batch, load and save waits before it begins, in milliseconds, as if the database were far"
        + ` away. Default: ${defaultSinkDelayMillis}.`
    )
  ),
  file: path("file").pipe(
    Options.optional,
    Options.withDescription(
      "Flights of your own: NDJSON, an object a line, with date (\"2001/01/31 18:05\"), delay (minutes), distance"
        + " (miles), origin and destination. Default: 20,000 flights of the package vega-datasets."
    )
  ),
  db: path("db").pipe(
    Options.optional,
    Options.withDescription(
      "The SQLite database. Its tables sluice_flights, sluice_board, sluice_airport_statistics and"
        + " sluice_airport_slots are replaced."
        + " Default: a temporary file, which is removed afterwards. The routes are always in one of their own."
    )
  ),
  json: Options.boolean("json").pipe(
    Options.withDescription("Writes the result as one JSON document, and nothing else.")
  ),
  serve: Options.boolean("serve").pipe(
    Options.withDescription(
      "Replays the flights again and again, and serves the queues over HTTP meanwhile, until Ctrl-C or SIGTERM. Offers"
        + ` ${defaultServeRate} flights a second where neither --rate nor --speed is given. All tables are in the`
        + " database of --db then, those of the routes as well. /admin is there where SLUICE_ADMIN_TOKEN is set."
    )
  ),
  port: option(
    "port",
    "integer",
    Schema.NumberFromString.pipe(Schema.int(), Schema.between(0, 65_535)),
    "an integer from 0 to 65535"
  ).pipe(
    Options.optional,
    Options.withDescription(`With --serve: the port. 0 is any that is free. Default: ${defaultPort}.`)
  ),
  host: option("host", "address", Schema.NonEmptyString, "an address or a name, not empty").pipe(
    Options.optional,
    Options.withDescription(`With --serve: where it listens. Default: ${defaultHost}, which is for this machine alone.`)
  )
}

type Parsed = Command.Command.ParseConfig<typeof command>

/** Where to serve. */
export interface Address {
  readonly host: string
  readonly port: number
}

export interface ReplayOptions extends Omit<Parsed, "rate" | "speed" | "serve" | "host" | "port"> {
  readonly pace: Pace
  /** None: the flights are replayed once, and it ends. */
  readonly serve: Option.Option<Address>
}

const serveOf = ({ host, json, port, serve }: Parsed): Effect.Effect<Option.Option<Address>, BadOption> => {
  if (!serve) {
    return Option.isSome(port) || Option.isSome(host)
      ? Effect.fail(new BadOption({ problem: "--port and --host are for --serve" }))
      : Effect.succeed(Option.none())
  }
  return json
    ? Effect.fail(
      new BadOption({ problem: "--serve and --json exclude each other: what is served has no end to tell" })
    )
    : Effect.succeed(Option.some({
      host: Option.getOrElse(host, () => defaultHost),
      port: Option.getOrElse(port, () => defaultPort)
    }))
}

const paceOf = ({ rate, serve, speed }: Parsed): Effect.Effect<Pace, BadOption> => {
  if (Option.isSome(rate)) {
    return Option.isSome(speed)
      ? Effect.fail(new BadOption({ problem: "--rate and --speed exclude each other" }))
      : Effect.succeed({ _tag: "Rate", perSecond: rate.value })
  }
  if (Option.isSome(speed)) return Effect.succeed({ _tag: "Speed", factor: speed.value })
  return Effect.succeed(serve ? { _tag: "Rate", perSecond: defaultServeRate } : { _tag: "AsFastAsPossible" })
}

const optionsOf = (parsed: Parsed): Effect.Effect<ReplayOptions, BadOption> =>
  Effect.gen(function*() {
    const { host: _host, port: _port, rate: _rate, serve: _serve, speed: _speed, ...rest } = parsed
    return { ...rest, pace: yield* paceOf(parsed), serve: yield* serveOf(parsed) }
  })

// eslint-disable-next-line no-control-regex -- the codes of colours begin with a control character
const withoutColours = (text: string): string => text.replaceAll(/\u001b\[[0-9;]*m/g, "")

const badOption = (error: ValidationError.ValidationError): BadOption =>
  new BadOption({ problem: withoutColours(HelpDoc.toAnsiText(error.error)) })

/**
 * Parses the command line. None: something else was asked for, such as `--help`, and has been answered.
 */
export const parse = (
  argv: ReadonlyArray<string>
): Effect.Effect<Option.Option<ReplayOptions>, BadOption, CliApp.CliApp.Environment> =>
  Effect.gen(function*() {
    const parsed = yield* Ref.make(Option.none<Parsed>())
    const flights = Command.make("flights", command, (options) => Ref.set(parsed, Option.some(options)))
    const run = Command.run(
      flights.pipe(Command.withDescription(
        "Replays flights into SQLite, through queues, keyed batches and commands, and checks what was written."
      )),
      { name: "flights", version: "0.1.0" }
    )
    // On a mistake the library prints a page on stderr; we say it in one line.
    yield* Console.consoleWith((console) => Console.withConsole(run(argv), { ...console, error: () => Effect.void }))
      .pipe(Effect.mapError(badOption))
    return yield* Option.match(yield* Ref.get(parsed), {
      onNone: () => Effect.succeed(Option.none()),
      onSome: (parsed) => Effect.map(optionsOf(parsed), Option.some)
    })
  })
