"""`python -m benchmarks`: see `suite`, which is apart so that processes of its own can import it."""

import sys

from benchmarks.suite import main

if __name__ == "__main__":
    sys.exit(main())
