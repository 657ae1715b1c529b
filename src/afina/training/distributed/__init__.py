"""Training by more than one process: who works what, and what the processes tell each other."""
