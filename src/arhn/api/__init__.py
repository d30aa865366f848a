"""`arhn.clean`: data sets in Python, of the libraries that people have them in, cleaned by the run of `arhn clean`."""
