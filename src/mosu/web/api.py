"""`/api/v1`: the doors of all contexts, under one roof."""

from ninja import NinjaAPI

from mosu.compute.api import routers as compute
from mosu.ledger.api import routers as ledger
from mosu.market.api import routers as market
from mosu.platform.api import routers as platform
from mosu.platform.problems import install
from mosu.subsidies.api import routers as subsidies

api = NinjaAPI(
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
for prefix, router in (*platform, *ledger, *subsidies, *market, *compute):
    api.add_router(prefix, router)
