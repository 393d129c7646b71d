"""A trained model as one file that other programs run: from stored pixels to probabilities, all of it inside."""
