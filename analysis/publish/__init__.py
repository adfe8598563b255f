"""Publishes a study as Weights & Biases runs and a workspace, from the records and scores on disk."""
