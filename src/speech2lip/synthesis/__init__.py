"""SPEECH -> LIPS in canonical space."""
