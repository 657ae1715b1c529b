"""Personal data in texts: where it stands, and texts in which placeholders stand for it."""
