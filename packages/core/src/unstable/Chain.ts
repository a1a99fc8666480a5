/**
 * A list in the order of arrival, from whose middle a member can leave at once.
 *
 * Not stable: what `@sluice/sql` and `@sluice/http` are built on, and may change in any release.
 *
 * @since 0.1.0
 */
export { Chain, type Link } from "../internal/shapes/chain.ts"
