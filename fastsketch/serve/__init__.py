"""The page on which one draws and sees what a model takes it for, and the JSON API behind it."""
