"""Faster attacks in training: fast copies, CUDA graphs; and teacher extrapolation, which alone is approximate."""
