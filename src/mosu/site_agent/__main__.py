"""`python -m mosu.site_agent --config FILE`: run the agent in the foreground."""

import argparse
import sys
from pathlib import Path

from mosu.kernel.refusals import DomainError
from mosu.site_agent.agent import EXIT_CONFIG, run_agent
from mosu.site_agent.config import load_config


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mosu.site_agent", description="Run a site agent.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="its settings, in TOML")
    try:
        config = load_config(parser.parse_args().config)
    except DomainError as refusal:
        print(f"{refusal.message} {refusal.hint}", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG
    return run_agent(config)


if __name__ == "__main__":
    sys.exit(main())
