/**
 * Gives the parts of a schema the services that they need, and finds out whether a schema decodes asynchronously what
 * it has encoded synchronously. Then an item could be stored, and never be read again.
 *
 * A schema does not say so beforehand, and decoding each item for it would cost as much as encoding it. So every part of
 * the schema that could be asynchronous is watched by itself. An item that was encoded by a part that is not known yet
 * is decoded as well, and a part that has decoded without an Effect is known from then on. A union may well have a part
 * that is not met for a long time.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Context from "effect/Context"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

type Step<Args extends ReadonlyArray<any>> = (...args: Args) => unknown

export class WatchedSchema<in out A, in out I> {
  /** The same schema, watched; or the schema itself, where no part of it needs to be. */
  readonly schema: Schema.Schema<A, I>
  /** Whether a part that is not known has encoded something since this was set to false. */
  inDoubt = false
  private readonly watched = new Map<SchemaAST.AST, SchemaAST.AST>()

  private readonly services: Context.Context<any> | undefined

  constructor(schema: Schema.Schema<A, I>, services?: Context.Context<any>) {
    this.services = services
    const ast = this.watch(schema.ast)
    this.schema = ast === schema.ast ? schema : Schema.make(ast)
  }

  private watch(ast: SchemaAST.AST): SchemaAST.AST {
    const known = this.watched.get(ast)
    if (known !== undefined) return known
    const made = this.rebuild(ast)
    this.watched.set(ast, made)
    return made
  }

  private rebuild(ast: SchemaAST.AST): SchemaAST.AST {
    switch (ast._tag) {
      case "Transformation": {
        const [from, to] = [this.watch(ast.from), this.watch(ast.to)]
        const { transformation } = ast
        const steps = SchemaAST.isFinalTransformation(transformation)
          ? this.finalSteps(transformation)
          : transformation
        const isSame = from === ast.from && to === ast.to && steps === transformation
        return isSame ? ast : new SchemaAST.Transformation(from, to, steps, ast.annotations)
      }
      case "Declaration": {
        const { decode, encode } = this.pair()
        return new SchemaAST.Declaration(
          ast.typeParameters.map((each) => this.watch(each)),
          (...parameters) => decode(ast.decodeUnknown(...parameters)),
          (...parameters) => encode(ast.encodeUnknown(...parameters)),
          ast.annotations
        )
      }
      case "Suspend": {
        const suspended = new SchemaAST.Suspend(() => this.watch(ast.f()), ast.annotations)
        this.watched.set(ast, suspended)
        return suspended
      }
      case "Refinement": {
        const from = this.watch(ast.from)
        return from === ast.from ? ast : new SchemaAST.Refinement(from, ast.filter, ast.annotations)
      }
      case "Union": {
        const types = ast.types.map((type) => this.watch(type))
        return types.every((type, i) => type === ast.types[i]) ? ast : SchemaAST.Union.make(types, ast.annotations)
      }
      case "TupleType": {
        const types = [...ast.elements, ...ast.rest].map(({ type }) => this.watch(type))
        if (types.every((type, i) => type === (ast.elements[i] ?? ast.rest[i - ast.elements.length]).type)) return ast
        const count = ast.elements.length
        return new SchemaAST.TupleType(
          ast.elements.map((each, i) => new SchemaAST.OptionalType(types[i], each.isOptional, each.annotations)),
          ast.rest.map((each, i) => new SchemaAST.Type(types[count + i], each.annotations)),
          ast.isReadonly,
          ast.annotations
        )
      }
      case "TypeLiteral": {
        const properties = ast.propertySignatures.map((each) => {
          const type = this.watch(each.type)
          return type === each.type
            ? each
            : new SchemaAST.PropertySignature(each.name, type, each.isOptional, each.isReadonly, each.annotations)
        })
        const indexes = ast.indexSignatures.map((each) => {
          const type = this.watch(each.type)
          return type === each.type ? each : new SchemaAST.IndexSignature(each.parameter, type, each.isReadonly)
        })
        const isSame = properties.every((each, i) => each === ast.propertySignatures[i])
          && indexes.every((each, i) => each === ast.indexSignatures[i])
        return isSame ? ast : new SchemaAST.TypeLiteral(properties, indexes, ast.annotations)
      }
      default:
        return ast
    }
  }

  private finalSteps({ decode, encode }: SchemaAST.FinalTransformation): SchemaAST.FinalTransformation {
    const watching = this.pair()
    return new SchemaAST.FinalTransformation(watching.decode(decode), watching.encode(encode))
  }

  /** Both directions of one part. It is known once its decoding has answered with an `Either`. */
  private pair() {
    let isKnown = false
    return {
      decode: <F extends Step<any>>(step: F): F =>
        ((...args) => {
          const answer = step(...args)
          isKnown ||= Either.isEither(answer)
          return this.provided(answer)
        }) as F,
      encode: <F extends Step<any>>(step: F): F =>
        ((...args) => {
          if (!isKnown) this.inDoubt = true
          return this.provided(step(...args))
        }) as F
    }
  }

  private provided(answer: unknown): unknown {
    const { services } = this
    if (services === undefined || Either.isEither(answer) || !Effect.isEffect(answer)) return answer
    return Effect.provide(answer as Effect.Effect<unknown, unknown>, services)
  }
}

/** Whether something was not decoded because that would have been asynchronous. */
export const isAsynchronous = (issue: ParseResult.ParseIssue): boolean => {
  switch (issue._tag) {
    case "Forbidden":
      return true
    case "Composite":
      return [issue.issues].flat().some((each) => isAsynchronous(each as ParseResult.ParseIssue))
    case "Pointer":
    case "Refinement":
    case "Transformation":
      return isAsynchronous(issue.issue)
    default:
      return false
  }
}
