"""The files of a trial: its epoch log, images, checkpoints, and copies of them."""
