"""Ray: attempts as jobs of a Ray cluster, each in the sandbox of the node that it comes to."""
