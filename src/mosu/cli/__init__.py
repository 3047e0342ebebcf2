"""The `mosu` command: the client's commands over HTTP; a server's commands loaded only when called."""
