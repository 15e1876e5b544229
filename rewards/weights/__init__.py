"""The catalogue of reward network weights, and where they are found."""
