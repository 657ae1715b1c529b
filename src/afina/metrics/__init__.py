"""Pure functions on arrays: label metrics, perplexity, calibration, intervals and paired tests."""
