"""Computer vision without networks: flow, subjects, edges, repetition, distances."""
