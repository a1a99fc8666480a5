/**
 * A list in order of arrival. A member can leave from the middle in constant time.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
export { Chain, type Link } from "../internal/shapes/chain.ts"
