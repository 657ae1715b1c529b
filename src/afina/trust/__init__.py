"""Whether a release is what was made, and by whom: manifest, signatures, keys, who is trusted."""
