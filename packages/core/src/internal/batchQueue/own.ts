/**
 * How a queue recognizes its own fibers, and those forked in them: they must not wait for something that only their own
 * end can bring.
 */
import * as Context from "effect/Context"
import { contextOf, type Running } from "../fibers/fiber.ts"

/** What the context of such a fiber has. */
interface Mark {
  readonly of: Own
  /** The worker that it belongs to, if it is a handler's. */
  readonly worker: number | undefined
}

let made = 0

export class Own {
  // A key for each queue: a handler of one may be run within a handler of another.
  private readonly tag = Context.GenericTag<Mark>(`@sluice/core/internal/own/${made++}`)

  /** The context of the queue's own fibers. It is given to them once, and costs nothing per batch. */
  mark<R>(context: Context.Context<R>, worker?: number): Context.Context<R> {
    return Context.add(context, this.tag, { of: this, worker })
  }

  private of(fiber: Running<any, any>): Mark | undefined {
    const mark: Mark | undefined = contextOf(fiber).unsafeMap.get(this.tag.key)
    return mark?.of === this ? mark : undefined
  }

  has(fiber: Running<any, any>): boolean {
    return this.of(fiber) !== undefined
  }

  /** Whose handler the fiber belongs to. */
  workerOf(fiber: Running<any, any>): number | undefined {
    return this.of(fiber)?.worker
  }
}
