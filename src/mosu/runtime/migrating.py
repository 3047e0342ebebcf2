"""Migrations in half the time: a new hub waits for all of them, and so does every run of the tests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from django.core.management import call_command
from django.db.migrations.state import ProjectState

_CHANGES: Final = ("_append_option", "_remove_option", "_alter_option")
"""What Django does to its picture of the tables when a constraint or an index comes, goes, or is another."""


def migrate(*target: str, verbosity: int = 0) -> None:
    """Bring the database to this code, or to a `target`: an app, and the number of one of its migrations."""
    with _options_noted():
        call_command("migrate", *target, verbosity=verbosity, interactive=False)


@contextmanager
def _options_noted() -> Iterator[None]:
    """A change of constraints or indexes is noted on the model's class.

    Django makes the class anew instead, and those of all tables around it, alike but for this one list:
    with a hundred tables that is half of the time that all migrations take.
    """
    django = {name: getattr(ProjectState, name) for name in _CHANGES}
    try:
        for name, change in django.items():
            setattr(ProjectState, name, _noting(change))
        yield
    finally:
        for name, change in django.items():
            setattr(ProjectState, name, change)


def _noting(change: Callable[..., None]) -> Callable[..., None]:
    @wraps(change)
    def noted(state: ProjectState, app_label: str, model_name: str, option: str, *what: Any) -> None:
        classes = state.__dict__.pop("apps", None)  # a picture without classes makes none anew
        change(state, app_label, model_name, option, *what)
        if classes is not None:
            state.__dict__["apps"] = classes
            options = state.models[app_label, model_name.lower()].options
            setattr(classes.get_model(app_label, model_name)._meta, option, options[option])

    return noted
