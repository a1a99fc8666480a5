/** What decides the moments of a test that depends on chance. */

/** Another one in each run, unless it is given. */
export const seed = Number(process.env.SLUICE_SEED ?? Math.floor(Math.random() * 2 ** 31))

/** Numbers from 0 to 1 that a seed decides. */
export const randomFrom = (seed: number) => () => {
  seed = seed + 0x6D2B79F5 | 0
  let mixed = Math.imul(seed ^ seed >>> 15, 1 | seed)
  mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed
  return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32
}

/** What a test that fails says, so that it can be run again. */
export const printSeed = ({ onTestFailed }: { readonly onTestFailed: (tell: () => void) => void }): void =>
  onTestFailed(() => console.log(`the seed was SLUICE_SEED=${seed}`))
