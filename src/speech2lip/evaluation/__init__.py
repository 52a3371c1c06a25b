"""Metrics and the tables made of them; pure functions that know neither footage folders nor models."""
