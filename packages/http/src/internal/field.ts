/**
 * Where in a value something is wrong, in the sender's terms.
 */

/** Long enough to find the place. */
const longestField = 200

/** Such as `address.lines[2]`; empty for the value as a whole. */
export const fieldOf = (path: ReadonlyArray<PropertyKey>): string =>
  path.reduce<string>(
    (field, step) =>
      typeof step === "number" ? `${field}[${step}]` : field === "" ? String(step) : `${field}.${String(step)}`,
    ""
  ).slice(0, longestField)
