/**
 * What this process knows about the store: how much is in it, whether it has room, and whether there is something to
 * claim.
 *
 * Other processes store and settle without telling this one, so this is an estimate, which a look at the store
 * corrects.
 */

export class Backlog {
  private items = 0
  private gone = 0
  private full = false
  private tellRoom = (): void => {}
  private tellClaimable = (_batches: number): void => {}

  /** How many items are stored and not done. */
  get pending(): number {
    return this.items
  }

  /** How many items have left the store, and made room, since this process began. */
  get left(): number {
    return this.gone
  }

  /** Whether the store has as many items as it may. */
  get isFull(): boolean {
    return this.full
  }

  /** Who waits for room in the store. */
  onRoom(listener: () => void): void {
    this.tellRoom = listener
  }

  /** Who waits for something to claim. */
  onClaimable(listener: (batches: number) => void): void {
    this.tellClaimable = listener
  }

  /** The store has been read. */
  read(pending: number): void {
    this.items = pending
  }

  /** This many items are in. */
  stored(items: number): void {
    this.items += items
  }

  /** There may be this many more batches to claim. */
  claimable(batches: number): void {
    if (batches > 0) this.tellClaimable(batches)
  }

  /** This many items are done or dead. */
  leave(items: number): void {
    this.items -= items
    this.gone += items
  }

  /** The store has refused more. */
  fill(): void {
    this.full = true
  }

  /** There may be room again. */
  room(): void {
    if (!this.full) return
    this.full = false
    this.tellRoom()
  }
}
