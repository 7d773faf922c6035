"""What a training run is asked to do: flags, their values, and the file that holds them."""
