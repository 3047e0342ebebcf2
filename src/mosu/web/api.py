"""`/api/v1`: the doors of all contexts, under one roof."""

from typing import Any, Final

from ninja import NinjaAPI
from ninja.errors import ValidationError, ValidationErrorContext
from ninja.openapi.schema import OpenAPISchema

from mosu.compute.api import routers as compute
from mosu.ledger.api import routers as ledger
from mosu.market.api import routers as market
from mosu.platform.api import routers as platform
from mosu.platform.problems import MEDIA_TYPE, Problem, install
from mosu.store.api import routers as store
from mosu.subsidies.api import routers as subsidies

_REFUSED: Final = {
    "description": "Refused: what and why, and what to do about it (RFC 9457).",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_ERRORS_NAMED_MAX: Final = 1000
_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})

_DESCRIBED: dict[str, OpenAPISchema] = {}


class Api(NinjaAPI):
    """Its description says of every operation that it may answer with a problem."""

    def validation_error_from_error_contexts(
        self, error_contexts: list[ValidationErrorContext[Any]]
    ) -> ValidationError:
        """As ninja does it, but for a body that is wrong in so many places that naming them takes seconds."""
        for context in error_contexts:
            count = context.pydantic_validation_error.error_count()
            if count > _ERRORS_NAMED_MAX:
                return ValidationError(
                    [{"loc": ("body",), "msg": f"wrong in {count} places", "type": "too_many_errors"}]
                )
        return super().validation_error_from_error_contexts(error_contexts)

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """The same for whoever asks, and a second's work: made once below each address."""
        prefix = path_prefix or self.get_root_path(path_params or {})
        if prefix not in _DESCRIBED:
            _DESCRIBED[prefix] = self._described(prefix)
        return _DESCRIBED[prefix]

    def _described(self, prefix: str) -> OpenAPISchema:
        schema = super().get_openapi_schema(path_prefix=prefix)
        schema["components"].setdefault("schemas", {})["Problem"] = Problem.json_schema()
        for operations in schema["paths"].values():
            for method in _METHODS & operations.keys():
                operations[method]["responses"]["default"] = _REFUSED
        return schema


api = Api(
    title="mosu",
    version="1",
    description=(
        "One account, one ledger, one record of an AI innovation hub. Money is a decimal string with its currency; "
        "ids are TypeIDs; times are UTC; errors are problem+json (RFC 9457)."
    ),
    urls_namespace="api",
    openapi_url="/openapi.json",
    docs_url="/docs",
)
install(api)
for prefix, router in (*platform, *store, *ledger, *subsidies, *market, *compute):
    api.add_router(prefix, router)
