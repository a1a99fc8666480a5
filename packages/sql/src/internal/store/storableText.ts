/**
 * Text that every database returns unchanged: surrogates in pairs, and no NUL.
 */

/** How many characters are kept of what somebody else has written, such as the text of an error. */
const mostKept = 4096

// Not the same as the one that replaces: a global one remembers where it was.
const unstorable = /[\0\p{Surrogate}]/u
const everyUnstorable = /[\0\p{Surrogate}]/gu

export const isStorable = (text: string): boolean => !unstorable.test(text)

/** What is kept of a text. It may have been cut between two surrogates. */
export const kept = (text: string): string => text.slice(0, mostKept).replace(everyUnstorable, "\uFFFD")
