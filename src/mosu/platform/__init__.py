"""Who may do what, and what was done: organisations, users, tokens, policy, audit, idempotency, events, notices."""
