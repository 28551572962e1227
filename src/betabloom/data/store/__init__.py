"""Prepared pictures on disk, and streams of them."""
