"""What crosses the wire: the task file and the site agent's messages, parsed and checked in one place."""
