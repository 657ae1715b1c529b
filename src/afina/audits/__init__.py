"""What the rows hold that a person should know of before a model is trained on them."""
