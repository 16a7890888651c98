"""The settings of the shop."""

import os

SECRET_KEY = "of an example"
INSTALLED_APPS = ["exq_anyio.contrib.django", "bookshop"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DATABASE", "shop.sqlite3")}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

# Fields of exq_anyio.Config; without EXQ, the variables EXQ_URL, EXQ_NAMESPACE and so on are read.
EXQ = {
    "url": {"env": "EXQ_URL", "default": "redis://localhost"},
    "namespace": {"env": "EXQ_NAMESPACE", "default": "shop"},
    "queues": ["payments"],
}
