"""Orders while parts of the hub are killed with -9 at random; afterwards everything is counted from outside."""
