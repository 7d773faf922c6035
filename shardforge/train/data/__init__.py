"""Images for training: what the options name, read through one loader, varied, and mixed."""
