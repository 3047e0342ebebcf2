"""The control plane: Django as WSGI."""

import os

from django.core.wsgi import get_wsgi_application

from mosu.kernel.memory import nothing_collected

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mosu.web.settings")

with nothing_collected():
    application = get_wsgi_application()
