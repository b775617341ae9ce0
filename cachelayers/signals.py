"""Signals that operators may listen to. The lowest floor.

``layer_failed`` and ``layer_recovered`` are sent with ``alias`` (of CACHES), and the first one with
``error``, once each time that a layer of a LayeredCache begins to be skipped, or is used again.
"""

from __future__ import annotations

from django.dispatch import Signal

layer_failed = Signal()
layer_recovered = Signal()
