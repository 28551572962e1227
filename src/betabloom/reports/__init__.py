"""Evaluation of a model, and the page of a run."""
