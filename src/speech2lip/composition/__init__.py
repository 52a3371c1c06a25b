"""LIPS -> FRAME: put the lips back into frames at any head pose."""
