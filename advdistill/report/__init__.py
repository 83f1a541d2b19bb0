"""Results as tables, comparisons and pictures. Nothing here imports torch."""
