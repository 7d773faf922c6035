"""Names of living things: how they are written, which ranks they stand for, what people call them."""
