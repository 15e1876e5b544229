"""Model families: the architectures that Dailies can run and train."""
