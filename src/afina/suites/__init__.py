"""GLUE, SuperGLUE and any task of lm-evaluation-harness, asked of the base and the tuned model."""
