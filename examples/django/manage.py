"""A shop in Django.

::

    pip install "exq-anyio[embedded]" django
    cd examples/django
    python manage.py test
    python manage.py migrate --run-syncdb
    EXQ_URL=redis://localhost python manage.py exqworker --queue payments:10
    EXQ_URL=redis://localhost python manage.py order 1999
"""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
execute_from_command_line(sys.argv)
