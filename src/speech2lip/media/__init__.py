"""The edge of the system: pictures and sound in and out."""
