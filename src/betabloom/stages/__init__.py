"""A training in stages: what `betabloom train SOURCE --budget 2h` does; each stage is kept only if it helps."""
