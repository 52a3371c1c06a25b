"""Frames brought into agreement by what they show, not by landmarks."""
