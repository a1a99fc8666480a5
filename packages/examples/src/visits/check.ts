/**
 * What must be true of the two runs of the app.
 */
import type { WriteCoordinator } from "@sluice/sql"
import { expected, plan, type Totals, writes } from "./Visits.ts"

/** One run of the app. */
export interface Run {
  readonly name: string
  readonly millis: number
  /** As many as the log of the database has. */
  readonly commits: number
  readonly totals: Totals
  /** What the watcher was told. */
  readonly counts: ReadonlyArray<number>
}

export interface Evidence {
  readonly plain: Run
  readonly coordinated: Run
  /** When the second run had ended. */
  readonly metrics: WriteCoordinator.Metrics
  /** What was submitted afterwards, what was announced of it, and what the watcher was told. */
  readonly submitted: ReadonlyArray<unknown>
  readonly announced: ReadonlyArray<{ readonly topic: string; readonly payload: unknown; readonly sequence: number }>
  readonly countsAfter: ReadonlyArray<number>
}

/** With the coordinator, at least so many writes must have shared a commit, on average. */
const fewestPerCommit = 10

const isWatched = (counts: ReadonlyArray<number>, from: number, to: number): boolean =>
  counts.length > 1 && counts[0] === from && counts[counts.length - 1] === to
  && counts.every((count, n) => n === 0 || counts[n - 1] <= count)

const wrongWithRun = ({ counts, name, totals }: Run): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  if (totals.visits !== expected.visits || totals.walked !== expected.walked) {
    wrong.push(
      `${name}: ${totals.visits} visits and ${totals.walked} on walks, not ${expected.visits} and ${expected.walked}`
    )
  }
  if (!isWatched(counts, 0, expected.visits)) wrong.push(`${name}: the watcher was told ${counts.join(", ")}`)
  return wrong
}

const wrongWithMetrics = ({ coordinated, metrics }: Evidence): ReadonlyArray<string> => {
  const { batches: groups, cancelled, failed, held, offered, refused, settled, succeeded } = metrics
  const wrong: Array<string> = []
  if (offered !== refused + cancelled + settled + held || settled !== succeeded + failed) {
    wrong.push("the coordinator's counts do not add up")
  }
  if (offered !== writes || failed !== plan.failingWalks || succeeded !== writes - plan.failingWalks) {
    wrong.push(`${succeeded} of ${offered} writes of the coordinator have succeeded, and ${failed} have failed`)
  }
  if (coordinated.commits !== groups) wrong.push(`${groups} groups, but ${coordinated.commits} commits`)
  if (coordinated.commits * fewestPerCommit > writes) {
    wrong.push(`${coordinated.commits} commits for ${writes} writes: they were not grouped`)
  }
  return wrong
}

const wrongWithAnnounced = ({ announced, countsAfter, submitted }: Evidence): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const asSubmitted = submitted.map((payload, n) => ({ topic: "visits", payload, sequence: n + 1 }))
  const asAnnounced = announced.map(({ payload, sequence, topic }) => ({ topic, payload, sequence }))
  if (JSON.stringify(asAnnounced) !== JSON.stringify(asSubmitted)) {
    wrong.push(`announced was ${JSON.stringify(asAnnounced)}`)
  }
  if (!isWatched(countsAfter, expected.visits, expected.visits + submitted.length)) {
    wrong.push(`after the submits the watcher was told ${countsAfter.join(", ")}`)
  }
  return wrong
}

/** Everything that is wrong, a line each. */
export const check = (evidence: Evidence): ReadonlyArray<string> => {
  const { coordinated, plain } = evidence
  const committed = writes - plan.failingWalks
  return [
    ...wrongWithRun(plain),
    ...wrongWithRun(coordinated),
    ...(plain.commits === committed ? [] : [`plain: ${plain.commits} commits, not ${committed}`]),
    ...wrongWithMetrics(evidence),
    ...wrongWithAnnounced(evidence)
  ]
}
