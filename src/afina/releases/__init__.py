"""What leaves the machine: the release folder, its card and the hashes of its files."""
