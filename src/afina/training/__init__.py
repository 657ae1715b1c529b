"""Fine-tuning: the probe, the loop, its checkpoints."""
