"""First pass over one take: picture, sound, landmarks, and which frames are left out."""
