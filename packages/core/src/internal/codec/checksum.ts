/**
 * xxHash32: the checksum that shows whether the bytes of an envelope have changed.
 *
 * It always detects a change within one aligned word of 4 bytes, such as a flipped bit or a wrong byte: each word
 * enters one of four lanes, or the hash itself, through invertible steps, so two different words never give the same
 * lane. It misses any other change once in 2^32 times. For errors of disks and memory this is as good as a CRC-32, and
 * several times as fast in JavaScript, because it reads words instead of bytes.
 *
 * Source: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
 */
const prime1 = 0x9e3779b1 | 0
const prime2 = 0x85ebca77 | 0
const prime3 = 0xc2b2ae3d | 0
const prime4 = 0x27d4eb2f
const prime5 = 0x165667b1

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by))

const round = (lane: number, word: number): number =>
  Math.imul(rotate((lane + Math.imul(word, prime2)) | 0, 13), prime1)

/**
 * The hash of the bytes from one place up to another, not negative. A DataView reads words at any address, and the same
 * on every machine.
 */
export const xxHash32 = (bytes: DataView, seed = 0, from = 0, to = bytes.byteLength): number => {
  let at = from
  let hash: number
  if (to - from >= 16) {
    let lane1 = (seed + prime1 + prime2) | 0
    let lane2 = (seed + prime2) | 0
    let lane3 = seed | 0
    let lane4 = (seed - prime1) | 0
    for (const last = to - 16; at <= last; at += 16) {
      lane1 = round(lane1, bytes.getInt32(at, true))
      lane2 = round(lane2, bytes.getInt32(at + 4, true))
      lane3 = round(lane3, bytes.getInt32(at + 8, true))
      lane4 = round(lane4, bytes.getInt32(at + 12, true))
    }
    hash = rotate(lane1, 1) + rotate(lane2, 7) + rotate(lane3, 12) + rotate(lane4, 18)
  } else hash = seed + prime5
  hash = (hash + (to - from)) | 0
  for (; at <= to - 4; at += 4) {
    hash = Math.imul(rotate((hash + Math.imul(bytes.getInt32(at, true), prime3)) | 0, 17), prime4)
  }
  for (; at < to; at++) hash = Math.imul(rotate((hash + Math.imul(bytes.getUint8(at), prime5)) | 0, 11), prime1)
  hash = Math.imul(hash ^ (hash >>> 15), prime2)
  hash = Math.imul(hash ^ (hash >>> 13), prime3)
  return (hash ^ (hash >>> 16)) >>> 0
}
