"""For maintainers: what makes the files that the package brings along."""
