"""Secrets at rest: sealed by the hub's key, so that a copy of the database alone opens none of them."""

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def seal(text: str) -> bytes:
    """`text`, encrypted and authenticated under the hub's key."""
    return _fernet().encrypt(text.encode())


def unseal(sealed: bytes | memoryview) -> str:
    """What was sealed.

    Raises:
        ValueError: altered, or sealed under another key.
    """
    try:
        return _fernet().decrypt(bytes(sealed)).decode()
    except InvalidToken:
        raise ValueError("sealed under another key, or altered") from None


def derived(purpose: str) -> bytes:
    """32 bytes that follow from the hub's key and `purpose` alone (HKDF, RFC 5869), so that nobody need keep them."""
    return HKDF(SHA256(), length=32, salt=None, info=purpose.encode()).derive(_key().encode())


def _fernet() -> Fernet:
    return Fernet(_key())


def _key() -> str:
    if not settings.MOSU_ENCRYPTION_KEY:
        raise ImproperlyConfigured("MOSU_ENCRYPTION_KEY is not set: secrets cannot be kept")
    return str(settings.MOSU_ENCRYPTION_KEY)
