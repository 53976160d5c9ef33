import pytest

# So that a failing `assert` in tests/support shows its values too. It has to be said before anything there is imported.
pytest.register_assert_rewrite("tests.support")
