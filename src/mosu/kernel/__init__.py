"""Plain Python for all: money, time, refusals, states, ids, digests. Imports nothing of mosu."""
