"""Plots of an experiment, each a panel: a title, a caption, and a plotly figure."""
