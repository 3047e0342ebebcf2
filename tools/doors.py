"""Writes the list of all doors for people:  python tools/doors.py"""

import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mosu.web.settings")
    django.setup()
    from tests.architecture.doors import all_doors, as_table  # Django is set up first

    (ROOT / "docs" / "reference" / "doors.md").write_text(as_table(all_doors()), encoding="utf-8")
