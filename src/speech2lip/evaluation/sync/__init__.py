"""Judges of lips and sound together."""
