/**
 * How long a store that has failed is left alone, after so many failures in a row: 100 ms, doubling, at most 5 seconds.
 */
export const storeBackoffMillis = (failures: number): number => Math.min(5000, 100 * 2 ** (failures - 1))
