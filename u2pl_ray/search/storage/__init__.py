"""Where an experiment is kept: a folder or an object store, who may write there, and how a file is replaced whole."""
