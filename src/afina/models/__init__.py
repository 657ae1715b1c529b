"""Base models, their tokenizers, the number format they run in, and adapters on them."""
