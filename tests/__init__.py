import pytest

# Makes a failing `assert` in tests/support show its values too. This must run before anything there is imported.
pytest.register_assert_rewrite("tests.support")
