import os

from hypothesis import settings

# A busy machine is not a failure; and what CI runs must be the same examples each time.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")
