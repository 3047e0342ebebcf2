"""Django's settings. Everything that differs between machines comes from the environment (see runtime/config.py)."""

import os
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from csp.constants import NONE, SELF

from mosu.kernel.money import MINOR_DIGITS

_POOL = (
    {"pool": {"min_size": 1, "max_size": 16, "timeout": 20}}
    if os.environ.get("MOSU_DB_POOL", "1") == "1"
    else {}
)


def _secret(name: str) -> str:
    """A secret by its file (`NAME_FILE`) or, for tests, by its value (`NAME`)."""
    path = os.environ.get(f"{name}_FILE")
    return Path(path).read_text().strip() if path else os.environ.get(name, "")


def _database(url: str) -> dict[str, object]:
    """Django's settings for `postgresql://user:password@host:port/name?host=/socket/folder`."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return {
        "ENGINE": "mosu.platform.database",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query["host"][0] if "host" in query else parts.hostname or "",
        "PORT": query["port"][0] if "port" in query else str(parts.port or ""),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # A session that is stuck must not hold the ledger's locks against all others.
            "options": "-c lock_timeout=15s -c idle_in_transaction_session_timeout=60s -c statement_timeout=300s",
            # Only cursors that ask for it prepare (platform/database): they do so at once.
            "prepare_threshold": 0,
            **_POOL,
        },
    }


SECRET_KEY = _secret("MOSU_SECRET_KEY") or "not-secret: tests and type checks only"
DEBUG = False
ALLOWED_HOSTS = os.environ.get("MOSU_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
MOSU_URL = os.environ.get("MOSU_URL", "http://localhost:8000")
CSRF_TRUSTED_ORIGINS = [MOSU_URL]
# Where people and agents reach the relay, which joins people to sessions; empty: the hub has none.
MOSU_RELAY_URL = os.environ.get("MOSU_RELAY_URL", "")
if MOSU_RELAY_URL and urlsplit(MOSU_RELAY_URL).scheme not in ("http", "https"):
    raise ValueError(f"MOSU_RELAY_URL: {MOSU_RELAY_URL!r} is no address that begins with http:// or https://")
# Below which each port of each session has a host of its own, for browsers (PORT-RUN.MOSU_APPS_HOST); empty: none has.
MOSU_APPS_HOST = os.environ.get("MOSU_APPS_HOST", "").lower()
if MOSU_APPS_HOST and not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", MOSU_APPS_HOST):
    raise ValueError(f"MOSU_APPS_HOST: {MOSU_APPS_HOST!r} is no name of a host, such as apps.hub.example")
if any(f".{name}".endswith(f".{MOSU_APPS_HOST}") for name in ALLOWED_HOSTS if MOSU_APPS_HOST):
    raise ValueError(
        f"MOSU_APPS_HOST: the hub itself is at {MOSU_APPS_HOST}, or below; apps need a name of their own"
    )
# Where people reach the hub by plain ssh, HOST:PORT; empty: nowhere.
MOSU_SSH_ADDRESS = os.environ.get("MOSU_SSH_ADDRESS", "")
if MOSU_SSH_ADDRESS and not re.fullmatch(r"[A-Za-z0-9.-]+:[1-9][0-9]{0,4}", MOSU_SSH_ADDRESS):
    raise ValueError(
        f"MOSU_SSH_ADDRESS: {MOSU_SSH_ADDRESS!r} is no host with a port, such as hub.example:2200"
    )
DATA_DIR = Path(os.environ.get("MOSU_DATA_DIR", "/nonexistent"))

# The hub's own choices, fixed for its life.
HUB_ZONE = os.environ.get("MOSU_ZONE", "Asia/Shanghai")
HUB_CURRENCY = os.environ.get("MOSU_CURRENCY", "CNY")
if HUB_CURRENCY not in MINOR_DIGITS:
    raise ValueError(f"MOSU_CURRENCY: {HUB_CURRENCY} is not one of {', '.join(MINOR_DIGITS)}")
# Where residents send money, as they are shown it: the name, number and bank of the hub's account.
HUB_PAY_IN = os.environ.get("MOSU_PAY_IN", "")
# Under which it issues bills, statements and exports.
HUB_NAME = os.environ.get("MOSU_NAME", "mosu")
# Encrypts secrets at rest: a Fernet key.
MOSU_ENCRYPTION_KEY = _secret("MOSU_ENCRYPTION_KEY")

INSTALLED_APPS = [
    "mosu.platform",
    "mosu.store",
    "mosu.ledger",
    "mosu.subsidies",
    "mosu.market",
    "mosu.compute",
    "mosu.web",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "ninja",
    "procrastinate.contrib.django",
    "csp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "mosu.web.static_files.StaticFiles",
    "mosu.web.middleware.Squeeze",
    "mosu.web.middleware.Private",
    "mosu.web.middleware.Csp",
    "mosu.web.middleware.XFrameOptions",
    "mosu.web.middleware.Session",
    "mosu.web.middleware.Locale",
    "mosu.web.middleware.Common",
    "mosu.web.middleware.Csrf",
    "mosu.web.middleware.Authentication",
    "mosu.web.middleware.OwnLanguage",
    "mosu.web.middleware.Messages",
    "mosu.web.middleware.SaysWhy",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "mosu.web.urls"
WSGI_APPLICATION = "mosu.web.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "mosu.web.surroundings.surroundings",
            ],
        },
    }
]

# Migrations run as the owner of the tables, everything else as a role that owns none.
DATABASES = {
    "default": _database(
        (os.environ.get("MOSU_MIGRATE") == "1" and os.environ["DATABASE_OWNER_URL"])
        or os.environ.get("DATABASE_URL", "postgresql://mosu_app@localhost/mosu")
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "platform.User"
# The e-mail address is unique by its lower case: a constraint that this check does not know.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "mosu.web.passwords.LongEnough", "OPTIONS": {"min_length": 10}},
    {"NAME": "mosu.web.passwords.Uncommon"},
    {"NAME": "mosu.web.passwords.Unlike"},
]
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if os.environ.get("MOSU_SMTP_HOST") else "optional"
ACCOUNT_ADAPTER = "mosu.web.passwords.Adapter"
MFA_ADAPTER = "mosu.web.passwords.SecondFactor"
ACCOUNT_FORMS = {"signup": "mosu.web.forms.SignUp", "change_password": "mosu.web.forms.NewPassword"}
ACCOUNT_EMAIL_NOTIFICATIONS = True  # the old address hears of a new one, of a new password, of second factors
ACCOUNT_REAUTHENTICATION_REQUIRED = (
    True  # a session alone changes no address to which a new password can be sent
)
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/today/"
MFA_FORMS = {
    "authenticate": "mosu.web.forms.Code",
    "reauthenticate": "mosu.web.forms.CodeAgain",
    "activate_totp": "mosu.web.forms.FirstCode",
}
MFA_TOTP_TOLERANCE = 1  # one step of 30 s before and after, for clocks that differ (RFC 6238, 5.2)
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]

EMAIL_HOST = os.environ.get("MOSU_SMTP_HOST", "")
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if EMAIL_HOST
    else "django.core.mail.backends.dummy.EmailBackend"
)
EMAIL_PORT = int(os.environ.get("MOSU_SMTP_PORT", "587"))
EMAIL_HOST_USER = os.environ.get("MOSU_SMTP_USER", "")
EMAIL_HOST_PASSWORD = _secret("MOSU_SMTP_PASSWORD")
EMAIL_USE_TLS = EMAIL_PORT == 587
DEFAULT_FROM_EMAIL = os.environ.get("MOSU_MAIL_FROM", "mosu@localhost")

LANGUAGES = [("zh-hans", "简体中文"), ("en", "English")]
LANGUAGE_CODE = "en"
USE_I18N = True
LOCALE_PATHS = [Path(__file__).parent / "locale"]
USE_TZ = True
TIME_ZONE = HUB_ZONE
STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "mosu.web.static_files.HashedStorage"},
}

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = MOSU_URL.startswith("https://")
if SESSION_COOKIE_SECURE:
    # An app at a host below the hub's own can set cookies for both, but none with this prefix (RFC 6265bis, 4.1.3).
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}

NINJA_PAGINATION_MAX_LIMIT = 200
# A quote names up to 10,000 files; the data plane's messages have the same limit.
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "mosu.web.uploads.OnDisk",
]
PROCRASTINATE_ON_APP_READY = None
LOGGING_CONFIG = None
