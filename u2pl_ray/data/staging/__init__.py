"""Data where the training is: a data set on an object store or a network file system, copied once to each node."""
