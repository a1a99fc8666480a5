/**
 * How long a database may keep a caller waiting, and the leases that must outlast that. Both are known in one place, so
 * that the one that comes second can be refused.
 */

export interface Lease {
  readonly queue: string
  readonly leaseMillis: number
}

/** How many waits a lease has room for: one before a renewal, one in which the renewal fails, and one for the next. */
export const waitsInLease = 3

export class Bounds {
  /** How long somebody else's lock is waited for. */
  readonly busyTimeoutMillis: number
  private readonly writeTimeouts = new Set<{ readonly millis: number }>()
  private readonly leases = new Set<Lease>()

  constructor(busyTimeoutMillis: number) {
    this.busyTimeoutMillis = busyTimeoutMillis
  }

  /** Registers how long a coordinator may hold the writer. Returns a function that ends that. */
  registerWriteTimeout(millis: number): () => void {
    return register(this.writeTimeouts, { millis })
  }

  /** Registers the length of a queue's leases. Returns a function that ends that. */
  registerLease(leaseMillis: number, queue: string): () => void {
    return register(this.leases, { queue, leaseMillis })
  }

  /** The longest time for which a coordinator may hold the writer. */
  get writeTimeoutMillis(): number {
    return Math.max(0, ...Array.from(this.writeTimeouts, ({ millis }) => millis))
  }

  /** The longest bound on a wait for the writer. */
  get longestWaitMillis(): number {
    return Math.max(this.busyTimeoutMillis, this.writeTimeoutMillis)
  }

  get shortestLease(): Lease | undefined {
    return [...this.leases].reduce<Lease | undefined>(
      (shortest, lease) => shortest === undefined || lease.leaseMillis < shortest.leaseMillis ? lease : shortest,
      undefined
    )
  }
}

const register = <A>(all: Set<A>, one: A): () => void => {
  all.add(one)
  return () => void all.delete(one)
}
