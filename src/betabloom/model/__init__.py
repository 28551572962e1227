"""A trained model, in memory and on disk."""
