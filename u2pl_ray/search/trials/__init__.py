"""A trial's folder: its epochs, images, checkpoints and copies of them."""
