"""The desk of the hub's own people: what operators make, what checkers confirm. Auditors read it."""
