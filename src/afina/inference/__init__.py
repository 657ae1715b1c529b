"""What a model is asked, and how its answer is read; the same for training, evaluation and serving."""
