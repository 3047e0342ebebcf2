"""The API's own description is true: whatever is sent, no operation fails, and every answer is as described."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.test import Client
from hypothesis import strategies as st
from ninja import Schema
from pydantic import BaseModel
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mosu.platform.problems import MEDIA_TYPE
from mosu.platform.schemas import Out
from tests.api.world import Personas, make_personas

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = int(os.environ.get("MOSU_FUZZ_EXAMPLES", "3"))


def test_the_description(client: Client) -> None:
    described = client.get("/api/v1/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    operations = [
        operation
        for path in described["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len(operations) > 60
    assert all(MEDIA_TYPE in operation["responses"]["default"]["content"] for operation in operations)
    names = Counter(operation["operationId"] for operation in operations)
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_shapes_share_a_name() -> None:
    """Of two, the description would keep one, and be false for the other."""
    described: dict[str, str] = {}
    for shape in (*_below(Schema), *_below(Out)):
        if shape.__module__.startswith("mosu.") and not shape.__pydantic_generic_metadata__["parameters"]:
            shown = repr(shape.model_json_schema())
            assert described.setdefault(shape.__name__, shown) == shown, shape


def _below(shape: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in shape.__subclasses__():
        yield below
        yield from _below(below)


def test_the_pages_of_the_api_ask_nobody_else(client: Client) -> None:
    assert client.get("/api/docs").headers["Location"] == "/api/v1/docs"
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    assert b"https://" not in page.content
    assert b"http://" not in page.content


@pytest.mark.parametrize("who", ["owner", "staff", "nobody"])
def test_no_operation_fails(who: str, fresh_db: Any) -> None:
    """Every operation with generated calls, by one persona; ids are mostly those of rows that exist."""
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app=get_wsgi_application())
    personas = make_personas()
    failures = []
    tried: Counter[int] = Counter()
    times = 1 if who == "nobody" else EXAMPLES  # whatever a stranger sends, nobody reads it
    for found in schema.get_all_operations():
        operation = found.ok()
        try:
            _fuzz(operation, personas=personas, headers=personas.headers[who], tried=tried, times=times)
        except FailureGroup as failure:
            failures.append(f"{operation.label}\n{failure}")
    assert not failures, f"{len(failures)} operations:\n\n" + "\n\n".join(failures)
    assert tried[401 if who == "nobody" else 200] > 10, tried


def _fuzz(
    operation: Any, *, personas: Personas, headers: dict[str, str], tried: Counter[int], times: int
) -> None:
    @hypothesis.settings(
        max_examples=times,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy(), known=st.sampled_from([True, True, False]))
    def call(case: Any, known: bool) -> None:
        if known:
            case.path_parameters = personas.known(case.path_parameters)
            case.body = personas.known(case.body)
        case.headers = {**(case.headers or {}), **headers}
        response = case.call_and_validate(checks=CHECKS)
        tried[response.status_code] += 1

    call()
