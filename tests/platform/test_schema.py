"""Whatever is sent to the platform's operations, none fails by a bug."""

import json
from typing import Any

import pytest
import schemathesis
from django.test import Client, override_settings
from django.utils.http import urlencode
from hypothesis import HealthCheck, Phase, settings
from tests.platform import test_api
from tests.platform.factories import bearer, make_founder, make_staff

from mosu.platform.actors import HubRole

schema = schemathesis.openapi.from_dict(
    json.loads(json.dumps(test_api.api.get_openapi_schema(path_prefix="/api/v1/")))
)


@pytest.fixture
def tokens(db: Any) -> list[dict[str, str]]:
    return [bearer(make_founder()[0]), bearer(make_staff(*HubRole))]


@schema.parametrize()
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_a_bug(case: Any, tokens: list[dict[str, str]]) -> None:
    body = case.body
    if isinstance(body, schemathesis.core.NotSet):
        body = b""
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    address = f"{case.formatted_path}?{urlencode(case.query or {}, doseq=True)}"
    for token in tokens:
        with override_settings(ROOT_URLCONF=test_api.__name__):
            answer = Client().generic(case.method, address, body, "application/json", headers=token)
        assert answer.status_code < 500, answer.content
