"""Training on Lightning: precision, trainer and the run folder."""
