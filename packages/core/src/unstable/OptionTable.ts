/**
 * The options of a system as a table: how each option is checked, its default, and whether it may come from a
 * configuration. The types and the docs are in the interface of the options, beside the table.
 *
 * From a table come the check (`check`), the type of what a configuration may set (`Configurable`) and the table of
 * options in the docs. `scripts/check-options.js` compares it with the interface.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { InvalidOption } from "../QueueError.ts"
import * as Check from "./OptionCheck.ts"

/**
 * One option. It takes an `In`, from a configuration a `Plain`, and is checked to an `Out`, whose name ends with `Unit`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry<in In, out Out, out Plain, out Unit extends string> {
  /** The kind, in a word: "integer", "duration", "function". */
  readonly kind: string
  /** Further requirements; undefined if there are none. */
  readonly limit: string | undefined
  /** The default, in words; undefined if the option is required. */
  readonly default: string | undefined
  readonly unit: Unit
  /** The options within it. */
  readonly fields: Table | undefined
  readonly check: (queue: string, field: string, value: unknown) => Effect.Effect<Out, InvalidOption>
  /** A value in words. */
  readonly words: (value: In) => string
  /** Never set: it holds the type. */
  readonly _Plain?: (() => Plain) | undefined
}

/**
 * The options of a system, in the order in which they are checked.
 *
 * @since 0.1.0
 * @category models
 */
export type Table = Readonly<Record<string, Entry<never, unknown, unknown, string>>>

/**
 * A table of all options of an interface, for `satisfies`: it rejects a table with a missing or an extra option.
 *
 * @since 0.1.0
 * @category models
 */
export type Of<Options> = {
  readonly [Field in keyof Options]-?: Entry<Options[Field], unknown, unknown, string>
}

/**
 * The checked options, with defaults, and with durations as milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export type Checked<T extends Table> = {
  readonly [Field in keyof T & string as `${Field}${T[Field]["unit"]}`]: T[Field] extends
    Entry<never, infer Out, unknown, string> ? Out : never
}

type PlainOf<E> = E extends Entry<never, unknown, infer Plain, string> ? Plain : never

type PlainField<T, Field> = Field extends keyof T ? [PlainOf<T[Field]>] extends [never] ? never : Field : never

/**
 * What a configuration may set of the options. Its docs are those of the interface.
 *
 * @since 0.1.0
 * @category models
 */
export type Configurable<T, Options> = {
  readonly [Field in keyof Options as PlainField<T, Field>]?: Field extends keyof T ? PlainOf<T[Field]> : never
}

/**
 * Where options come from: a `Config` of each, or of an `Option` of it, an object option by option, or one `Config` of
 * all. What is absent, undefined or none is not set.
 *
 * @since 0.1.0
 * @category models
 */
export type Configs<C> =
  | { readonly [Field in keyof C]: ConfigOf<NonNullable<C[Field]>> | ({} extends Pick<C, Field> ? undefined : never) }
  | Config.Config<{ readonly [Field in keyof C]: C[Field] | undefined | Option.Option<NonNullable<C[Field]>> }>

type ConfigOf<A> = Config.Config<A | undefined | Option.Option<A>> | (IsGroup<A> extends true ? Configs<A> : never)

/** Whether it is an object of options, and not a value such as a duration or a policy. */
type IsGroup<A> = [A] extends [Record<string, any>]
  ? [keyof A] extends [never] ? false : [keyof A] extends [string] ? "_tag" extends keyof A ? false : true : false
  : false

/** What a configuration may set of an object: nothing, unless it may set all of it. */
type PlainObject<Fields extends Table> = keyof Fields extends keyof Configurable<Fields, Fields>
  ? Configurable<Fields, Fields>
  : never

/** What an object takes. */
type ObjectOf<Fields extends Table> = {
  readonly [Field in keyof Fields]?: (Fields[Field] extends Entry<infer In, unknown, unknown, string> ? In : never)
}

/**
 * Checks options against their table, one by one, and fills in the defaults. Fails with the first invalid option, under
 * the name in the option `name`, or under `module` if the name itself is invalid or absent.
 *
 * @since 0.1.0
 * @category checks
 */
export const check = <T extends Table>(
  table: T,
  module: string,
  options: object
): Effect.Effect<Checked<T>, InvalidOption> => {
  const { name } = Object(options) as { readonly name?: string }
  return checkFields(table, (field) => "name" in table && field !== "name" ? String(name) : module, "", options)
}

const checkFields = <T extends Table>(
  table: T,
  queueOf: (field: string) => string,
  prefix: string,
  options: object
): Effect.Effect<Checked<T>, InvalidOption> => {
  const given = Object(options) as Readonly<Record<string, unknown>>
  const checked = Effect.forEach(
    Object.entries(table),
    ([field, entry]) =>
      Effect.map(
        entry.check(queueOf(field), `${prefix}${field}`, given[field]),
        (value) => [`${field}${entry.unit}`, value] as const
      )
  )
  return Effect.map(checked, (fields) => Object.fromEntries(fields) as Checked<T>)
}

/**
 * The options, with those from a configuration. Fails with what is wrong with the configuration, also where a value that
 * was read is beyond the limit of its option: the error says where the value comes from.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withConfigs = <Options extends object, C>(
  table: Table,
  options: Options,
  configs: Configs<C>
): Effect.Effect<Options, ConfigError.ConfigError> => {
  const { name } = options as { readonly name?: unknown }
  return Effect.zipRight(
    checkConfigs(table, "name" in table ? String(name) : "configuration", "", configs),
    Effect.map(read(configs), (configuration) => configured(table, options, configuration as object))
  )
}

/** Checks each value by itself. What depends on several options is checked with all of them. */
const checkConfigs = (
  table: Table,
  queue: string,
  prefix: string,
  configs: unknown
): Effect.Effect<void, ConfigError.ConfigError> => {
  if (Config.isConfig(configs)) return Effect.void
  return Effect.forEach(Object.entries(configs as object), ([field, config]) => {
    const entry = table[field]
    if (entry === undefined || config === undefined) return Effect.void
    if (!Config.isConfig(config)) return checkConfigs(entry.fields ?? {}, queue, `${prefix}${field}.`, config)
    // An object that is read as a whole may be a part of that of the options.
    return entry.fields === undefined ? checkConfig(entry, queue, `${prefix}${field}`, config) : Effect.void
  }, { discard: true })
}

const checkConfig = (
  entry: Table[string],
  queue: string,
  field: string,
  config: Config.Config<unknown>
): Effect.Effect<void, ConfigError.ConfigError> =>
  Effect.configProviderWith((provider) => {
    const { flattened } = provider
    // Where the value comes from: what was found last, if anything was.
    let path: ReadonlyArray<string> | undefined
    const watched = ConfigProvider.fromFlat({
      ...flattened,
      load: (at, primitive, split) =>
        Effect.tap(flattened.load(at, primitive, split), () => {
          path = at
        })
    })
    return Effect.flatMap(watched.load(config), (read) => {
      const value = Option.isOption(read) ? Option.getOrUndefined(read) : read
      // A constant is the program's: it is checked with the options.
      if (value === undefined || path === undefined) return Effect.void
      return Effect.mapError(
        Effect.asVoid(entry.check(queue, field, value)),
        ({ message }) => ConfigError.InvalidData([...path!], message)
      )
    })
  })

const read = (given: unknown): Config.Config<unknown> =>
  Config.isConfig(given) ? given : Config.all(
    Object.fromEntries(
      Object.entries(given as object).filter(([, value]) => value !== undefined).map(([field, value]) =>
        [field, read(value)] as const
      )
    )
  )

/**
 * Merges options with those from a configuration, which take precedence where they are set; objects are merged field by
 * field.
 *
 * @since 0.1.0
 * @category combinators
 */
export const configured = <Options extends object>(table: Table, options: Options, configuration: object): Options => {
  const [before, after] = [options, set(configuration)] as ReadonlyArray<Readonly<Record<string, unknown>>>
  const objects = Object.entries(table).flatMap(([field, { fields }]) => {
    if (fields === undefined || after[field] === undefined) return []
    const isObject = typeof before[field] === "object" && before[field] !== null
    const within = isObject ? before[field] as object : {}
    return [[field, configured(fields, within, after[field] as object)] as const]
  })
  return { ...before, ...after, ...Object.fromEntries(objects) } as Options
}

/** What a configuration does set. */
const set = (configuration: object): object =>
  Object.fromEntries(
    Object.entries(configuration)
      .map(([field, value]) => [field, Option.isOption(value) ? Option.getOrUndefined(value) : value])
      .filter(([, value]) => value !== undefined)
  )

// --- words ------------------------------------------------------------------------------------------------------------

const isFunction = (value: unknown): boolean => typeof value === "function"

const inThousands = (value: number): string => String(value).replace(/\B(?=(?:\d{3})+$)/g, ",")

const mebibyte = 1024 * 1024

const quoted = (value: string): string => `\`${JSON.stringify(value)}\``

const units = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1000],
  ["millisecond", 1]
] as const

/** In the largest unit of which it is a whole number. */
const inUnits = (millis: number): string => {
  if (millis === 0 || millis === Infinity) return millis === 0 ? "0" : "infinite"
  const [unit, length] = units.find(([, length]) => millis % length === 0) ?? units[4]
  const count = millis / length
  return `${inThousands(count)} ${unit}${count === 1 ? "" : "s"}`
}

// --- kinds ------------------------------------------------------------------------------------------------------------

/**
 * An option of any kind.
 *
 * @since 0.1.0
 * @category kinds
 */
export const make = <In, Out = In, Plain = never>(options: {
  readonly kind: string
  readonly limit?: string | undefined
  readonly check: (queue: string, field: string, value: unknown) => Effect.Effect<Out, InvalidOption>
}): Entry<In, Out, Plain, ""> => ({
  ...options,
  limit: options.limit,
  default: undefined,
  unit: "",
  fields: undefined,
  words: String
})

/**
 * An option that is used as given, if it is valid. `must` is the requirement, for the error.
 *
 * @since 0.1.0
 * @category kinds
 */
export const holding = <In, Plain = never>(
  kind: string,
  holds: (value: unknown) => boolean,
  must: string,
  limit?: string
): Entry<In, In, Plain, ""> =>
  make({
    kind,
    limit,
    check: (queue, field, value) => Effect.as(Check.check(holds(value), queue, field, value, must), value as In)
  })

/**
 * A name that is not blank.
 *
 * @since 0.1.0
 * @category kinds
 */
export const name: Entry<string, string, never, ""> = holding(
  "text",
  (value) => typeof value === "string" && value.trim() !== "",
  "a name that is not blank",
  "not blank"
)

/**
 * Text that satisfies a condition.
 *
 * @since 0.1.0
 * @category kinds
 */
export const text = (holds: (text: string) => boolean, limit: string): Entry<string, string, string, ""> => ({
  ...holding<string, string>("text", (value) => typeof value === "string" && holds(value), limit, limit),
  words: quoted
})

/**
 * True or false.
 *
 * @since 0.1.0
 * @category kinds
 */
export const boolean: Entry<boolean, boolean, boolean, ""> = holding(
  "boolean",
  (value) => typeof value === "boolean",
  "true or false"
)

/**
 * One of some texts.
 *
 * @since 0.1.0
 * @category kinds
 */
export const oneOf = <const Value extends string>(...values: ReadonlyArray<Value>): Entry<Value, Value, Value, ""> => {
  const must = values.map((value) => JSON.stringify(value)).join(" or ")
  const limit = values.map(quoted).join(" or ")
  return {
    ...holding<Value, Value>("text", (value) => values.some((one) => one === value), must, limit),
    words: quoted
  }
}

const integer = (holds: (value: number) => boolean, must: string, limit: string) => ({
  ...holding<number, number>(
    "integer",
    (value) => Number.isSafeInteger(value) && holds(value as number),
    must,
    limit
  ),
  words: inThousands
})

/**
 * An integer with a minimum.
 *
 * @since 0.1.0
 * @category kinds
 */
export const integerFrom = (least: number): Entry<number, number, number, ""> =>
  integer((value) => value >= least, `an integer of at least ${least}`, `at least ${least}`)

/**
 * An integer within bounds.
 *
 * @since 0.1.0
 * @category kinds
 */
export const integerBetween = (least: number, most: number): Entry<number, number, number, ""> =>
  integer(
    (value) => value >= least && value <= most,
    `an integer from ${least} to ${most}`,
    `from ${least} to ${inThousands(most)}`
  )

/**
 * An integer of at least 1.
 *
 * @since 0.1.0
 * @category kinds
 */
export const positiveInteger: Entry<number, number, number, ""> = integerFrom(1)

/**
 * A maximum number of bytes.
 *
 * @since 0.1.0
 * @category kinds
 */
export const bytes: Entry<number, number, number, ""> = {
  ...positiveInteger,
  words: (value) => value % mebibyte === 0 ? `${inThousands(value / mebibyte)} MiB` : `${inThousands(value)} bytes`
}

/**
 * A non-negative duration, in milliseconds after the check.
 *
 * @since 0.1.0
 * @category kinds
 */
export const duration: Entry<Duration.DurationInput, number, Duration.DurationInput, "Millis"> = {
  kind: "duration",
  limit: undefined,
  default: undefined,
  unit: "Millis",
  fields: undefined,
  check: (queue, field, value) => Check.millis(queue, field, value as Duration.DurationInput),
  words: (value) => inUnits(Duration.toMillis(value))
}

/**
 * A function of the user's.
 *
 * @since 0.1.0
 * @category kinds
 */
export const callback = <F extends (...args: never) => unknown>(limit = "a function"): Entry<F, F, never, ""> =>
  holding("function", isFunction, limit)

/**
 * A function of the user's that may be absent.
 *
 * @since 0.1.0
 * @category kinds
 */
export const optionalCallback = <F extends (...args: never) => unknown>(
  words: string
): Entry<F | undefined, F | undefined, never, ""> => ({
  ...holding<F | undefined>(
    "function",
    (value) => value === undefined || isFunction(value),
    "a function, or absent"
  ),
  default: words
})

/**
 * A `Schedule`, which may always be absent.
 *
 * @since 0.1.0
 * @category kinds
 */
export const schedule: Entry<Schedule.Schedule<any, any, any>, Schedule.Schedule<any, any, any>, never, ""> = holding(
  "`Schedule`",
  Schedule.isSchedule,
  "a Schedule, or absent"
)

/**
 * An object of the user with these functions, and optionally with those.
 *
 * @since 0.1.0
 * @category kinds
 */
export const withFunctions = <In>(
  kind: string,
  functions: (value: unknown) => { readonly required: ReadonlyArray<string>; readonly optional?: ReadonlyArray<string> }
): Entry<In, In, never, ""> =>
  make({
    kind,
    check: (queue, field, value) => {
      const { optional, required } = functions(value)
      return Effect.as(Check.withFunctions(queue, field, value, required, optional), value as In)
    }
  })

/**
 * An object of options with its own table.
 *
 * @since 0.1.0
 * @category kinds
 */
export const object = <const Fields extends Table>(
  fields: Fields,
  limit: string
): Entry<ObjectOf<Fields>, Checked<Fields>, PlainObject<Fields>, ""> => ({
  ...make<ObjectOf<Fields>, Checked<Fields>, PlainObject<Fields>>({
    kind: "object",
    check: (queue, field, value) =>
      typeof value === "object" && value !== null
        ? checkFields(fields, () => queue, `${field}.`, value)
        : Effect.fail(new InvalidOption({ queue, field, value, limit }))
  }),
  fields,
  words: () => Object.entries(fields).map(([field, entry]) => `\`${field}\` ${entry.default}`).join(", ")
})

// --- combinators ------------------------------------------------------------------------------------------------------

/**
 * An option with a further requirement, which `limit` states.
 *
 * @since 0.1.0
 * @category combinators
 */
export const where = <In, Out, Plain, Unit extends string>(
  entry: Entry<In, Out, Plain, Unit>,
  holds: (value: Out) => boolean,
  limit: string
): Entry<In, Out, Plain, Unit> => ({
  ...entry,
  limit,
  check: (queue, field, value) =>
    Effect.tap(entry.check(queue, field, value), (out) => Check.check(holds(out), queue, field, value, limit))
})

/**
 * An option with a limit that depends on others, in words. Its check stands beside the table.
 *
 * @since 0.1.0
 * @category combinators
 */
export const limited = <In, Out, Plain, Unit extends string>(
  entry: Entry<In, Out, Plain, Unit>,
  limit: string
): Entry<In, Out, Plain, Unit> => ({ ...entry, limit })

/**
 * An option that may be left out, and is this then.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withDefault = <In, Out, Plain, Unit extends string>(
  entry: Entry<In, Out, Plain, Unit>,
  value: NoInfer<In>,
  words: string = entry.words(value)
): Entry<In | undefined, Out, Plain, Unit> => ({
  ...entry,
  words: (given) => given === undefined ? words : entry.words(given),
  default: words,
  check: (queue, field, given) => entry.check(queue, field, given === undefined ? value : given)
})

/**
 * An optional option without a default. `words` say what undefined means.
 *
 * @since 0.1.0
 * @category combinators
 */
export const optional = <In, Out, Plain, Unit extends string>(
  entry: Entry<In, Out, Plain, Unit>,
  words: string
): Entry<In | undefined, Out | undefined, Plain, Unit> => ({
  ...entry,
  words: (given) => given === undefined ? words : entry.words(given),
  default: words,
  check: (queue, field, given) => given === undefined ? Effect.succeed(undefined) : entry.check(queue, field, given)
})
