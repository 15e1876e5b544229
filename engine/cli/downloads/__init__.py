"""Commands that download: models, and the networks of the rewards."""
