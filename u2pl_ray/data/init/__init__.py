"""A first configuration for a folder of images: what is found, what is assumed, what is proposed."""
