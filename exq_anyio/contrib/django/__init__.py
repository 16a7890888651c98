"""Django: add ``"exq_anyio.contrib.django"`` to ``INSTALLED_APPS``, and put the settings of exq into ``EXQ``, a dict.

Workers are found in the ``jobs.py`` of every app; ``manage.py exqworker`` performs their jobs.
"""

from .enqueue import push, push_on_commit, queue

__all__ = ["push", "push_on_commit", "queue"]
