"""How fast avatars speak, and in how much memory."""
