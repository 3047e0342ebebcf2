"""Columns whose values are the states of the code."""

from django.db import models
from django.db.models import Q

from mosu.compute.states import (
    AttemptState,
    BlackoutState,
    BlockState,
    CopyState,
    EndpointState,
    NodeState,
    PoolState,
    RunState,
    VolumeState,
)

_States = type[
    PoolState
    | NodeState
    | BlackoutState
    | BlockState
    | EndpointState
    | VolumeState
    | CopyState
    | RunState
    | AttemptState
]


def choices(states: _States) -> list[tuple[str, str]]:
    return [(state.value, state.value) for state in states]


def known(name: str, states: _States) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(state__in=[state.value for state in states]), name=name)
