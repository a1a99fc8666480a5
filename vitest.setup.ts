import { afterEach } from "vitest"

const nextTurn = setImmediate

// Runs under seeded schedules never leave the turn of the event loop that they are in, and the runner takes a worker for
// dead that it has not heard of for a minute.
afterEach(() => new Promise<void>((resolve) => void nextTurn(resolve)))
