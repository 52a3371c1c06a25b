"""Composed frames: one renderer in torch for every network, one compiled for the processor."""
