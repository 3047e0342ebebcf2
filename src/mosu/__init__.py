"""mosu: the counter of an AI innovation hub, as software."""
