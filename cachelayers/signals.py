"""Signals for operators.

A recall sends ``entry_computed`` when it has computed a value, with ``alias`` (of CACHES), ``key``,
``seconds``, ``tags`` (the dependencies, as pairs of database and tag), ``is_storable`` and
``is_marker`` (the value only leads to the variant of a fragment, which is an entry too). A recall
sends ``entry_invalidated`` when it finds an entry invalid, with ``alias``, ``key``, ``database``
and ``tag``: the one that has changed, or None if that is no longer known. A write logs its tags
without knowing which entries depend on them.

``layer_failed`` and ``layer_recovered`` are sent with ``alias`` (of CACHES), and the first one with
``error``, each time that a layer of a LayeredCache begins to be skipped, or is used again.
"""

from __future__ import annotations

from django.dispatch import Signal

entry_computed = Signal()
entry_invalidated = Signal()
layer_failed = Signal()
layer_recovered = Signal()
