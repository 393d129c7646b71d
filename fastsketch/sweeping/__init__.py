"""Many trainings, to find the settings that learn best."""
