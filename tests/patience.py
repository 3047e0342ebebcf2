"""How long a test waits for what must come."""

PATIENCE_S = 120.0
"""Long enough for a machine that does much else: a test that waits in vain has failed anyway."""
PATIENT = {"open_timeout": PATIENCE_S, "ping_interval": None}
"""For who opens a WebSocket: the library's own limits are 10 s to open and 20 s for who is asked whether it is there, and
a peer that is made to take nothing answers none."""
