"""The kinds of layers: what a LayeredCache asks of each of its caches."""

from cachelayers.backends.layered.layers.base import Layer
from cachelayers.backends.layered.layers.making import make_layer

__all__ = ["Layer", "make_layer"]
