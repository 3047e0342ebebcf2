"""Engines: where attempts really run. One protocol for a laptop and a cluster."""
