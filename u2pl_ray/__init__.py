"""Distributed hyperparameter search for semi-supervised segmentation with U2PL, on Ray."""

__version__ = "0.1.0"
