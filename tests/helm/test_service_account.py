"""One account a part, none with a token."""

from __future__ import annotations


def components(manifests) -> list[str]:
    return [m["metadata"]["labels"]["app.kubernetes.io/component"] for m in manifests]


def test_each_part_has_an_account_without_a_token(render) -> None:
    accounts = render()
    assert components(accounts) == ["gateway", "inference", "mlflow", "store"]
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_parts_that_are_not_there_have_none(render) -> None:
    values = {
        "inference": {"enabled": False},
        "store": {"kind": "external", "endpoint": "https://s3.example.org"},
    }
    assert components(render(values)) == ["mlflow"]
