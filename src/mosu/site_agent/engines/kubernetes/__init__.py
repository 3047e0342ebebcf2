"""Kubernetes with Kueue: attempts as suspended Jobs in a namespace of their organisation."""
