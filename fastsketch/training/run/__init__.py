"""What a run leaves: its directory, and everything that is written there."""
