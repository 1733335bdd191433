"""Settings for all tests."""

import hypothesis

# A busy machine is no failure: no test asserts a time.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile("default")
