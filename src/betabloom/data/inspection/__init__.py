"""What can be said about a source before anything is trained on it."""
