"""knedit: find the neurons that hold a language model's facts, keep them in a catalog, edit them, ship the result."""

__version__ = "0.1.0"
