"""Everything that is drawn for people."""
