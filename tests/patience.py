"""How long a test waits for what must come."""

PATIENCE_S = 120.0
"""Long enough for a machine that does much else: a test that waits in vain has failed anyway."""
