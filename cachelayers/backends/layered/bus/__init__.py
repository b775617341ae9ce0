"""How a write of one process reaches the memory of the others."""

from cachelayers.backends.layered.bus.base import Bus, Events, NoBus
from cachelayers.backends.layered.bus.making import connect_bus, make_bus

__all__ = ["Bus", "Events", "NoBus", "connect_bus", "make_bus"]
