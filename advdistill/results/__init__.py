"""What an evaluation leaves: the result and the files beside it. Nothing here needs torch."""
