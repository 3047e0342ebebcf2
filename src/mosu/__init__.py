"""mosu: the counter of an AI innovation hub, as software."""

__version__ = "0.1.0"  # as in pyproject.toml: an environment that links the source has no metadata
