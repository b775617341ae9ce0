from cachelayers.backends.layered.cache import LayeredCache
from cachelayers.backends.layered.circuit_breaker import known_breakers
from cachelayers.backends.layered.options import WITHOUT_BUS_SECONDS

__all__ = ["WITHOUT_BUS_SECONDS", "LayeredCache", "known_breakers"]
