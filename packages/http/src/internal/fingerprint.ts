/**
 * A short fingerprint of the items of a request. It tells a repeated request from a different body.
 *
 * It is a 64-bit hash in two lanes, after cyrb53: fast, and synchronous on every platform. A client that forges two
 * bodies with the same fingerprint only deceives itself.
 *
 * @see https://github.com/bryc/code/blob/master/jshash/experimental/cyrb53.js
 */

const hex = (lane: number): string => (lane >>> 0).toString(16).padStart(8, "0")

export class Fingerprint {
  private one = 0xdeadbeef
  private two = 0x41c6ce57

  /** Of the items so far. White space and the spelling of numbers do not count. */
  get print(): string {
    const one = Math.imul(this.one ^ this.one >>> 16, 2246822507) ^ Math.imul(this.two ^ this.two >>> 13, 3266489909)
    const two = Math.imul(this.two ^ this.two >>> 16, 2246822507) ^ Math.imul(this.one ^ this.one >>> 13, 3266489909)
    return hex(two) + hex(one)
  }

  /** Adds an item, as it was parsed. Answers the print with it. */
  add(value: unknown): string {
    // No text of JSON has a line break of its own.
    const text = `${JSON.stringify(value)}\n`
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at)
      this.one = Math.imul(this.one ^ unit, 2654435761)
      this.two = Math.imul(this.two ^ unit, 1597334677)
    }
    return this.print
  }
}
