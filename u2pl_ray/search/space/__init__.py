"""Search spaces: their files, their distributions, and the paper's setting as a point of a space."""
