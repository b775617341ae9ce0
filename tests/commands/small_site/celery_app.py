"""The small site's Celery app, for a worker."""

import os

from celery import Celery

app = Celery("small_site", broker=os.environ.get("SMALL_SITE_BROKER", "memory://"))
app.conf.worker_hijack_root_logger = False
app.autodiscover_tasks(["cachelayers"])
