"""Training data: latents of preference pairs, pairs ranked by rewards, prompt embeddings."""
