"""The tests' settings, with the caches of one run."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import CACHES

CACHES.update(json.loads(os.environ.get("CACHELAYERS_COHERENCE_CACHES", "{}")))
