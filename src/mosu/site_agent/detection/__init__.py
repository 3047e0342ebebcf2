"""What stands on or beside this machine: schedulers, nodes, cards. Asked of their own tools, for `mosu agent init`."""
