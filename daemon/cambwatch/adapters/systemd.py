"""Tells systemd how the service is (sd_notify(3)); does nothing where systemd does not ask."""

import os
import socket

import structlog

log = structlog.get_logger()


def notify(*lines: str) -> None:
    """
    Send *lines* such as READY=1 or STATUS=... to $NOTIFY_SOCKET, if it is set.

    A lost notification is no reason to stop serving, so OSError is not raised on.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            log.warning("systemd.unreachable", error=str(error))
