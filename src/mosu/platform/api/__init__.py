"""The platform's operations, one file for each subject."""

from mosu.platform.api import (
    admissions,
    findings,
    notices,
    organisations,
    people,
    projects,
    records,
    staff,
    tokens,
)

routers = [
    ("", tokens.router),
    ("", organisations.router),
    ("", admissions.router),
    ("", people.router),
    ("", projects.router),
    ("", notices.router),
    ("", records.router),
    ("", staff.router),
    ("", findings.router),
]
