"""Files that are copied into exports: they run without Afina, and import nothing of it."""
