/**
 * How long to wait after a number of consecutive failures of the store: 100 ms, doubling, at most 5 seconds.
 */
export const storeBackoffMillis = (failures: number): number => Math.min(5000, 100 * 2 ** (failures - 1))
