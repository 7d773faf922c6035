"""Training on shards: masked image modelling and fine-tuning."""
