"""Commands that make training data and train: runs, pairs and curricula."""
