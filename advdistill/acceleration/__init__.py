"""Faster attacks in training: fast copies, CUDA graphs, and teacher extrapolation (the only approximation)."""
