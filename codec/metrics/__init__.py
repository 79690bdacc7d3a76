"""Measures of a decoded picture against its original; a new one is a file here and a case of `image_distortion`."""
