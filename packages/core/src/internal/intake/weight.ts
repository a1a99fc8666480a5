/**
 * What an item may weigh.
 */

export const isWeight = (weight: number, capacity: number): boolean =>
  Number.isSafeInteger(weight) && weight >= 1 && weight <= capacity
