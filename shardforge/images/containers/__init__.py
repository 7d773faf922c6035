"""The files that images come in, one module a format: what they say of their image, and the file for its decoder.

What is not pixels is read here and kept from the decoder, so that nothing that is wrong with it costs the image.
"""
