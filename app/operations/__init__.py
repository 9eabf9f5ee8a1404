"""Health, metrics, the overview and the documentation, for operators."""
