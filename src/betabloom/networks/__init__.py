"""Networks: one description of a network, and what builds or runs it."""
