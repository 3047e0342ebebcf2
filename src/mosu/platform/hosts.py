"""Which names the hub answers to: `ALLOWED_HOSTS`, the same for pages, the API and the data plane."""

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from mosu.kernel.refusals import DomainError


class WrongHost(DomainError):
    """The request names a host that is not this hub."""

    code = "wrong_host"
    status = 400


def require_host(host: str) -> None:
    """Pass if the header `Host` names this hub.

    Raises:
        WrongHost: it does not, or there is none.
    """
    domain, _ = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        raise WrongHost(
            "This hub does not answer to that name.",
            hint="Use the hub's own address; its operator names others in MOSU_HOSTS.",
            found=host[:80],
        )
