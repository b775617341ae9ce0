"""Signals that operators may listen to. The lowest floor.

``entry_computed`` is sent by the recall that has computed a value, with ``alias`` (of CACHES),
``key``, ``seconds``, ``tags`` (what it was made from, as pairs of database and tag) and
``is_storable``. ``entry_invalidated`` is sent by the recall that finds an entry invalid, with
``alias``, ``key``, ``database`` and ``tag``, the one that has changed, or None where that is no
longer known: whoever changes a row writes its tag, and does not know which entries were made of it.

``layer_failed`` and ``layer_recovered`` are sent with ``alias`` (of CACHES), and the first one with
``error``, once each time that a layer of a LayeredCache begins to be skipped, or is used again.
"""

from __future__ import annotations

from django.dispatch import Signal

entry_computed = Signal()
entry_invalidated = Signal()
layer_failed = Signal()
layer_recovered = Signal()
