/**
 * The request budget: a token bucket over epochs (docs/architecture.md §4). It bounds what a
 * busy cluster costs on a store that charges for requests.
 */

/** Sustained rate and burst; `undefined` where requests are free. */
export interface BudgetLimit {
  readonly perSecond: number;
  readonly burst: number;
}

/** Tokens left as of a moment. */
export interface Budget {
  readonly tokens: number;
  readonly atMs: number;
}

/** A full bucket. */
export function fullBudget(limit: BudgetLimit | undefined, nowMs: number): Budget {
  return { tokens: limit?.burst ?? 0, atMs: nowMs };
}

/** When the next token is there: now or later. */
export function budgetReadyAtMs(budget: Budget, limit: BudgetLimit | undefined, nowMs: number): number {
  if (limit === undefined) return nowMs;
  const { tokens } = refill(budget, limit, nowMs);
  return tokens >= 1 ? nowMs : nowMs + ((1 - tokens) / limit.perSecond) * 1000;
}

/** Takes a token; what cannot wait may take one that is not there yet. */
export function spendBudget(budget: Budget, limit: BudgetLimit | undefined, nowMs: number): Budget {
  if (limit === undefined) return budget;
  const { tokens } = refill(budget, limit, nowMs);
  return { tokens: Math.max(-limit.burst, tokens - 1), atMs: nowMs };
}

function refill(budget: Budget, limit: BudgetLimit, nowMs: number): Budget {
  const gained = (Math.max(0, nowMs - budget.atMs) / 1000) * limit.perSecond;
  return { tokens: Math.min(limit.burst, budget.tokens + gained), atMs: nowMs };
}
