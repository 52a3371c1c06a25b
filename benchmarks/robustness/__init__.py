"""Speech as others would say or send it."""
