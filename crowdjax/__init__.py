"""crowdjax: the truth behind labels from a crowd, how sure it is, and who is good at what. On JAX."""

__version__ = "0.1.0"
