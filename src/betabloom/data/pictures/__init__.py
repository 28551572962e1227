"""Decoding a picture file, and preparing it: recipe, pipeline, steps."""
