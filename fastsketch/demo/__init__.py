"""The sketches that our own code draws."""
