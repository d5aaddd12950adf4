"""The project's settings, all from environment variables or a `.env` file; docs/settings.md has the table of them."""

from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from jobscheduler.environment import Env
from jobscheduler.secret_key import kept_secret_key
from scheduler_app.conf import SchedulerConfig, read_config

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
env.read_file(Path(env.str("ENV_FILE", default=str(BASE_DIR / ".env"))))

DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).absolute()
"""Where the project writes: embedded database, generated secrets, collected static files."""

# --- Database ---------------------------------------------------------------------------------

EMBEDDED_DATABASE_DIRECTORY = DATA_DIR / "postgresql"
HAS_DATABASE_URL = bool(env.plain("DATABASE_URL"))
# A deployment that says nothing about DEBUG must not run with it.
DEBUG = env.bool("DEBUG", default=not HAS_DATABASE_URL)

if HAS_DATABASE_URL:
    DATABASES = {"default": env.postgresql("DATABASE_URL")}
elif DEBUG:
    DATABASES = {
        "default": {
            "ENGINE": "jobscheduler.embeddeddb",
            "NAME": "postgres",
            "USER": "postgres",
            "DATA_DIRECTORY": EMBEDDED_DATABASE_DIRECTORY,
        }
    }
else:
    raise ImproperlyConfigured(
        "DEBUG is off and DATABASE_URL is not set: name the PostgreSQL database to use, for example"
        " DATABASE_URL=postgresql://user:password@host:5432/name."
    )
DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
# Without one a page waits for minutes where the database's machine drops packets; the URL may say otherwise.
DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- The scheduler ----------------------------------------------------------------------------

PORT = env.int("PORT", default=8000)
if not 1 <= PORT <= 65535:
    raise ImproperlyConfigured(f"PORT must be from 1 to 65535, got {PORT}.")

SCHEDULER = env.options("SCHEDULER_", SchedulerConfig)
SCHEDULER.setdefault("spool_directory", str(DATA_DIR / "spool"))
if DEBUG:
    # The sample job calls the project's own liveness page, which has no public address.
    SCHEDULER["http_allowed_hosts"] = (
        *SCHEDULER.get("http_allowed_hosts", ()),
        f"127.0.0.1:{PORT}",
        f"localhost:{PORT}",
    )
    # Development shows every kind of target, with commands that change nothing.
    SCHEDULER.setdefault("kinds", ("task", "http", "management", "shell"))
    SCHEDULER.setdefault("management_commands", ("check",))
    SCHEDULER.setdefault(
        "shell_commands", {"disk-space": ["/bin/df", "-h", "--", "{arguments.path}"]}
    )
options = read_config(SCHEDULER)
if options.database not in DATABASES:
    raise ImproperlyConfigured(
        f"SCHEDULER_DATABASE must be one of {', '.join(DATABASES)}, got {options.database!r}."
    )
if options.pooled:
    # A server-side cursor outlives the transaction that a pooler gives its connection for.
    DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True

# Any queue: `runscheduler --queues` says which nodes take it.
TASKS = {"default": {"BACKEND": "scheduler_app.task_backend.SchedulerBackend", "QUEUES": []}}

# --- Django -----------------------------------------------------------------------------------

INSTALLED_APPS = [
    "scheduler_app",
    "jobscheduler",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
]

MIDDLEWARE = [
    "jobscheduler.middleware.content_security_policy",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "jobscheduler.middleware.liveness",
    "jobscheduler.middleware.readiness",
    "scheduler_app.middleware.SchedulerMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "jobscheduler.urls"
WSGI_APPLICATION = "jobscheduler.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# In development files are served from where they lie, so that nothing has to be collected.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG

REST_FRAMEWORK = {
    # Basic comes first, so that who is not known gets 401 and learns how to log in.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "scheduler_app.api.authentication.BasicAuthentication",
        "scheduler_app.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Job scheduler API",
    "VERSION": "1",
    "DESCRIPTION": "Jobs, what became of them, and everything that the admin can do with them, for programs.",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["scheduler_app.api.openapi.tidy_paths"],
    "POSTPROCESSING_HOOKS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "displayRequestDuration": True,
        "defaultModelsExpandDepth": 0,
        "docExpansion": "list",
        "filter": True,
        "validatorUrl": None,
    },
}

# --- Security ---------------------------------------------------------------------------------

SECRET_KEY = env.plain("SECRET_KEY")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set: give a long random string, the same for every process;"
            " or set DEBUG=1 for development."
        )
    SECRET_KEY = kept_secret_key(DATA_DIR / "secret_key")

ALLOWED_HOSTS = env.words("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0 if DEBUG else 3600)
if env.bool("TRUST_X_FORWARDED_PROTO", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
# Whether all subdomains speak https is not this project's to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# --- Logs -------------------------------------------------------------------------------------

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO").upper()
if LOG_LEVEL not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
    raise ImproperlyConfigured(
        f"LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL, got {LOG_LEVEL!r}."
    )

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "jobscheduler.logs.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(process)d %(name)s %(message)s",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "scheduler_app": {"level": LOG_LEVEL},
        "jobscheduler": {"level": LOG_LEVEL},
        # Django's own handlers would print each record a second time, over several lines.
        "django": {"handlers": [], "level": "INFO" if LOG_LEVEL == "DEBUG" else LOG_LEVEL},
    },
}
