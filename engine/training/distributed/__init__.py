"""Training in several processes: collectives, sharded weights, sharded checkpoints."""
