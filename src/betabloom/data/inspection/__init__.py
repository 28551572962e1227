"""What can be said of a source before anything is trained on it."""
