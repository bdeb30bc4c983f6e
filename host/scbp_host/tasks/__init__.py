"""What a model is for: the data with its fixed splits, and the metric."""
