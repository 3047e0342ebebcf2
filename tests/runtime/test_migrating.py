"""A change of constraints or indexes costs no new classes, and is known to whatever comes after it."""

from typing import Any

import pytest
from django.db import models
from django.db.migrations.state import ModelState, ProjectState

from mosu.runtime import migrating

RULE = models.CheckConstraint(condition=models.Q(size__gt=0), name="has_a_size")
ORDER = models.Index(fields=["size"], name="by_size")


@pytest.fixture
def state() -> ProjectState:
    made = ProjectState()
    made.add_model(ModelState("town", "Street", [("id", models.BigAutoField(primary_key=True))]))
    street = models.ForeignKey("town.Street", models.PROTECT)
    fields = [("id", models.BigAutoField(primary_key=True)), ("size", models.IntegerField()), ("on", street)]
    made.add_model(ModelState("town", "House", fields))
    assert made.apps.get_model("town", "house")  # the classes are there, as when migrations run
    return made


def house(state: ProjectState) -> Any:
    return state.apps.get_model("town", "house")


def names(state: ProjectState) -> tuple[list[str], list[str]]:
    meta = house(state)._meta
    return [one.name for one in meta.constraints], [one.name for one in meta.indexes]


def test_what_comes_and_goes_is_noted_and_no_class_is_new(state: ProjectState) -> None:
    drawn = house(state)
    with migrating._options_noted():
        before = state.clone()
        state.add_constraint("town", "house", RULE)
        state.add_index("town", "house", ORDER)
        assert names(state) == (["has_a_size"], ["by_size"])
        assert state.models["town", "house"].get_constraint_by_name("has_a_size") == RULE
        assert before.models["town", "house"].options["constraints"] == []
        other = models.CheckConstraint(condition=models.Q(size__gt=1), name="has_a_size")
        state.alter_constraint("town", "house", "has_a_size", other)
        assert house(state)._meta.constraints == [other]
        state.remove_constraint("town", "house", "has_a_size")
        state.remove_index("town", "house", "by_size")
        assert names(state) == ([], [])
        assert house(state) is drawn
    state.add_constraint("town", "house", RULE)
    assert house(state) is not drawn, "elsewhere it is Django's again"
    assert names(state) == (["has_a_size"], [])


def test_without_classes_none_are_made() -> None:
    state = ProjectState()
    state.add_model(ModelState("town", "House", [("size", models.IntegerField(primary_key=True))]))
    with migrating._options_noted():
        state.add_constraint("town", "house", RULE)
    assert "apps" not in state.__dict__
    assert names(state) == (["has_a_size"], [])
