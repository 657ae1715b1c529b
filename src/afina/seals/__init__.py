"""Sealed files: a release encrypted into one file, for people who hold a key or know a passphrase."""
