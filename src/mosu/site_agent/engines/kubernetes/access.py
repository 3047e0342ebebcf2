"""How the agent comes to a cluster: a kubeconfig, or the service account of the pod that it runs in."""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from mosu.kernel.refusals import Invalid

_IN_CLUSTER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Access:
    server: str
    tls: ssl.SSLContext | None
    """None only for a server on this machine that speaks plain HTTP, such as `kubectl proxy`."""
    token_file: Path | None = None
    """Read before each call: Kubernetes renews tokens in place."""
    token: str = ""

    def headers(self) -> dict[str, str]:
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def access_of(kubeconfig: Path | None, context: str = "") -> Access:
    """
    Raises:
        Invalid: there is no such file or context, or it asks for what mosu does not do.
    """
    if kubeconfig is None:
        return _in_cluster()
    try:
        found = yaml.safe_load(kubeconfig.read_text())
        chosen = _named(found["contexts"], context or found["current-context"])["context"]
        cluster = _named(found["clusters"], chosen["cluster"])["cluster"]
        user = _named(found["users"], chosen["user"]).get("user") or {}
        return _from(cluster, user, kubeconfig.parent)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, ssl.SSLError) as error:
        raise Invalid(
            f"{kubeconfig}: {type(error).__name__} {error}",
            hint="Check it with: kubectl --kubeconfig FILE version",
            field="kubeconfig",
        ) from error


def _in_cluster() -> Access:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (_IN_CLUSTER / "token").exists():
        raise Invalid(
            "This is no pod of a cluster.", hint="Set kubeconfig in [kubernetes].", field="kubeconfig"
        )
    host = f"[{host}]" if ":" in host else host
    tls = ssl.create_default_context(cafile=_IN_CLUSTER / "ca.crt")
    return Access(f"https://{host}:{port}", tls, token_file=_IN_CLUSTER / "token")


def _named(listed: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for item in listed:
        if item["name"] == name:
            return item
    raise ValueError(f"there is no {name!r}")


def _from(cluster: Mapping[str, Any], user: Mapping[str, Any], beside: Path) -> Access:
    for section, key in ((cluster, "insecure-skip-tls-verify"), (user, "exec"), (user, "auth-provider")):
        if section.get(key):
            raise ValueError(f"{key} is not supported: use a CA, and a token, a token file or a certificate")
    server = str(cluster["server"])
    token_file = user.get("tokenFile")
    return Access(
        server=server,
        tls=_tls(server, cluster, user, beside),
        token_file=beside / token_file if token_file else None,
        token=user.get("token", ""),
    )


def _tls(
    server: str, cluster: Mapping[str, Any], user: Mapping[str, Any], beside: Path
) -> ssl.SSLContext | None:
    address = urlsplit(server)
    if address.scheme == "http":
        if address.hostname not in _LOOPBACK:
            raise ValueError(f"{server} would carry tokens in the clear")
        return None
    authority = _bytes_of(cluster, "certificate-authority", beside)
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    certificate, key = (_bytes_of(user, name, beside) for name in ("client-certificate", "client-key"))
    if certificate and key:
        # Only files can be loaded: one of ours alone, gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            tls.load_cert_chain(file.name)
    return tls


def _bytes_of(section: Mapping[str, Any], name: str, beside: Path) -> bytes | None:
    if data := section.get(f"{name}-data"):
        return base64.b64decode(data)
    return (beside / section[name]).read_bytes() if section.get(name) else None
