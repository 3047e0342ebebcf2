"""A pytest plugin for CI: a skip whose reason is not expected here is a failure."""

import pytest

EXPECTED = (
    "shared data absent",
    "needs an ordinary user",
    "root only",
    "needs: apt-get install postgresql-15",
)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    unexpected = [
        f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
        for report in reporter.stats.get("skipped", [])
        if not any(reason in str(report.longrepr) for reason in EXPECTED)
    ]
    if unexpected:
        reporter.write_line("unexpected skips:\n  " + "\n  ".join(unexpected), red=True)
        session.exitstatus = 1
