"""Images: what their headers say, and how any of them becomes 8-bit RGB of the asked size and format."""
