"""Requests for new pictures: colours, numbers of a series, novelty."""
