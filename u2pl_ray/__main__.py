"""`python -m u2pl_ray`."""

from u2pl_ray.cli import main

main()
