"""Results as tables, comparisons and pictures; never torch."""
