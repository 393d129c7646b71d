"""Training: a data set, a model and a recipe → a run directory."""
