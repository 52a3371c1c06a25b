"""Programs that measure; figures are in results/."""
