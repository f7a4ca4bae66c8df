from u2pl_ray.search.execution.reservations import Claims


def test_claims_are_handed_out_once() -> None:
    claims = Claims()
    claims.add("0001", "x")
    claims.add("0002", "z")
    claims.add("0001", "y")
    assert claims.take("0001") == ["x", "y"]
    assert claims.take("0001") == []
    assert claims.take("0002") == ["z"]
