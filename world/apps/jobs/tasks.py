"""Tasks of huey and of Celery, if the project has them."""

from importlib.util import find_spec

from django.conf import settings
from jobs.work import write_names

if hasattr(settings, "HUEY"):
    from huey.contrib.djhuey import task

    huey_names = task()(write_names)

if hasattr(settings, "CELERY_BROKER_URL") and find_spec("celery"):
    from celery import shared_task

    celery_names = shared_task(write_names)
