"""Plots of an experiment as panels: a title, a caption, and a plotly figure each."""
