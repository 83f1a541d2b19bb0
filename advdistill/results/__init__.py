"""The files that an evaluation writes: the result and the files next to it. Nothing here needs torch."""
