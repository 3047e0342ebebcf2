"""The client's commands, one module per corner of the hub, loaded when called."""
