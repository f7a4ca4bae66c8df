import pytest

from u2pl_ray.config.errors import UserError
from u2pl_ray.search.study.database import check_url


@pytest.mark.parametrize("key", ["password", "sslpassword"])
def test_a_password_in_the_query_is_refused(key: str) -> None:
    with pytest.raises(UserError, match="leave the password out"):
        check_url(f"postgresql://u@h/d?{key}=secret")
