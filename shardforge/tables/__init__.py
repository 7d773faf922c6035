"""Tables that others wrote as text: how they are written, their rows, and in one sentence what is wrong with them."""
