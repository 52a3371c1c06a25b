"""Pages about a footage and about an evaluation, each one HTML file."""
