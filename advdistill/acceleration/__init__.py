"""Faster attacks in training: fast copies in fp32 or bf16, CUDA graphs, and extrapolated teachers."""
