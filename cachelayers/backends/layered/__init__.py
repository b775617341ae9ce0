from cachelayers.backends.layered.cache import LayeredCache

__all__ = ["LayeredCache"]
