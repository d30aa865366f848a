"""A connection to a Ray cluster, found out to be possible before anything waits for it."""

from __future__ import annotations

import logging
import math
import os
import socket
import subprocess  # nosec B404 - fixed commands only
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from arhn.engines.child_processes import Guard
from arhn.errors import ClusterError, ClusterUnreachable, UsageError
from arhn.libraries import library

logger = logging.getLogger(__name__)

#: The address of a cluster that is started for one run on this machine.
LOCAL = "local"
#: Seconds for a connection, and for Ray's own greeting: it would itself try for more than a minute, and then end
#: this process.
_CONNECT, _GREET = 3.0, 12.0

#: Nothing is reported to anyone, and workers' output stays in Ray's own logs.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_OPTIONS = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}

_GREETING = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR'); ray.shutdown()"


@contextmanager
def connect(address: str, cpus: float) -> Iterator[Any]:
    """The module `ray`, connected to a cluster; in a process that is connected already, to that one.

    Args:
        address: `local`, `auto`, or `host:port`.
        cpus: that a local cluster has at least.

    Raises:
        MissingDependency: Ray isn't installed.
        ClusterUnreachable: there is no cluster, within about 15 seconds.
        UsageError: an address that isn't one.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    ray = library("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    with ExitStack() as stack:
        if address == LOCAL:
            # Ray's agents live on where this process is killed.
            guard = stack.enter_context(closing(Guard()))
            with guard.marking():
                _start(ray, max(math.ceil(cpus), os.cpu_count() or 1))
        else:
            _require_reachable(address)
            _connect(ray, address, {})
        stack.callback(ray.shutdown)
        yield ray


def _start(ray: Any, cpus: int) -> None:
    options = {"num_cpus": cpus, "include_dashboard": False}
    try:
        _connect(ray, LOCAL, options)
    except ClusterError as error:
        # Ray gives itself half a minute, which a busy machine may exceed.
        logger.warning("%s. Once more", error)
        ray.shutdown()
        _connect(ray, LOCAL, options)


def _connect(ray: Any, address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **_OPTIONS, **options)
    except Exception as error:  # Ray raises whatever went wrong inside it
        raise ClusterError(f"--ray {address}: {type(error).__name__}: {error}") from error


def _require_reachable(address: str) -> None:
    if address != "auto":
        _require_listening(address)
    command = [sys.executable, "-c", _GREETING, address]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_GREET)  # noqa: S603  # nosec B603 - a fixed command
    except subprocess.TimeoutExpired:
        raise ClusterUnreachable(
            f"--ray {address}: something listens there, but no Ray cluster answers within {_GREET:g} seconds"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ClusterUnreachable(
            f"--ray {address}: {reason}. Give the address that 'ray start --head' printed, or --ray local"
        )


def _require_listening(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"--ray {address!r}: expected host:port, such as 10.0.0.1:6379, or auto, or local")
    try:
        with closing(socket.create_connection((host, int(port)), _CONNECT)):
            pass
    except OSError as error:
        raise ClusterUnreachable(
            f"--ray {address}: no cluster there ({error.strerror or error}). Start one with 'ray start --head', check "
            "the address, or try --ray local"
        ) from error


__all__ = ["LOCAL", "connect"]
