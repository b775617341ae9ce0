"""Fill the cache ahead of its readers. Used by apps' ``warmers`` modules and by ``warm_cache``.

What apps import is here; the machinery is in the modules beside it and is imported by the
command only, so that ``from cachelayers import warmer`` stays cheap in every server process.
"""

from cachelayers.warming.registry import RecallTarget, Target, Warmer, registered_warmers, warmer

__all__ = ["RecallTarget", "Target", "Warmer", "registered_warmers", "warmer"]
