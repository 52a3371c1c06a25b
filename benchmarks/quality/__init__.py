"""Everybody there is footage of, trained and judged."""
