"""Sends what a run's files say to MLflow and TensorBoard; the run's own files stay as they are."""

from afina.tracking.live import Tracking

__all__ = ["Tracking"]
