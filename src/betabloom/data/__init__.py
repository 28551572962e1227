"""Pictures: sources, pipelines and the prepared store. Imports no model code and no torch."""
