"""Addresses at which there is no cluster are found out quickly. No cluster is started here."""

import socket
import subprocess
import sys
from contextlib import closing

import pytest

from arhn.cluster import connect as connecting
from arhn.cluster.connect import connect
from arhn.errors import ClusterUnreachable, MissingDependency, UsageError


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


def try_to_connect(address: str) -> None:
    with connect(address, 1):
        pytest.fail("there is no cluster")


def test_no_cluster_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out without Ray, which would try for more than a minute."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("Ray is asked"))
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray is asked"))
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ClusterUnreachable, match="no cluster there"):
            try_to_connect(f"127.0.0.1:{free.getsockname()[1]}")


def test_something_else_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "_GREET", 0.5)
    expected = pytest.raises(ClusterUnreachable, match=r"no Ray cluster answers within 0\.5 seconds")
    with socket.create_server(("127.0.0.1", 0)) as silent, expected:
        try_to_connect(f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("address", ["", "here", "host:", "host:99999", ":6379", "locale", "ray://host:10001"])
def test_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="expected host:port"):
        try_to_connect(address)


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match=r"arhn\[ray\]"):
        try_to_connect("local")
