"""What every test shares: generated examples are the same in every run."""

from hypothesis import settings

# Wall-clock deadlines and a database of old failures would make a test depend on the machine and its past.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("repeatable")
