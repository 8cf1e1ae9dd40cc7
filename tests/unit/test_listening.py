"""Of a name with several addresses the intake listens at those that this machine has."""

import errno
import socket

import pytest
from structlog.testing import capture_logs

from cambwatch.app.sockets import ADDRESS_NOT_AVAILABLE, addresses, listen_at

HERE = (socket.AF_INET, ("127.0.0.1", 0))
ELSEWHERE = (socket.AF_INET, ("192.0.2.1", 0))  # RFC 5737: for documentation, on no machine
ELSEWHERE_6 = (socket.AF_INET6, ("2001:db8::1", 0, 0, 0))  # RFC 3849: likewise
LINK_WITHOUT_INTERFACE = (socket.AF_INET6, ("fe80::1", 0, 0, 0))
UNKNOWN_FAMILY = (socket.AF_DECnet, ("127.0.0.1", 0)) if hasattr(socket, "AF_DECnet") else (12, ("127.0.0.1", 0))


@pytest.fixture
def listening():
    """listen_at(), closed at the end."""
    made = []

    def listen(found, port=0):
        made.extend(listen_at(found, port))
        return made

    yield listen
    for one in made:
        one.close()


@pytest.mark.parametrize("missing", [ELSEWHERE, ELSEWHERE_6, LINK_WITHOUT_INTERFACE, UNKNOWN_FAMILY])
@pytest.mark.parametrize("first", [True, False])
def test_an_address_that_the_machine_does_not_have_is_left_out(listening, missing, first):
    with capture_logs() as logs:
        (one,) = listening([missing, HERE] if first else [HERE, missing])
    host, port = one.getsockname()
    assert host == "127.0.0.1"
    with socket.create_connection((host, port), timeout=5):
        pass
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("config.warning", "warning")
    assert f"not listening at {missing[1][0]}," in line["hint"]


def test_all_addresses_of_a_name_share_a_port(listening):
    first, second = listening([HERE, (socket.AF_INET, ("127.0.0.2", 0)), HERE])
    assert first.getsockname()[1] == second.getsockname()[1]
    assert addresses([first, second]).count("http://") == 2


def test_without_any_address_of_this_machine_each_is_named_with_its_reason():
    with pytest.raises(OSError, match="none of its addresses") as refused:
        listen_at([ELSEWHERE, ELSEWHERE_6], 8787)
    assert refused.value.errno == errno.EADDRNOTAVAIL
    for host in ("192.0.2.1: ", "2001:db8::1: "):
        assert host in refused.value.strerror
    assert "http.listen" in refused.value.strerror


def test_a_port_that_is_taken_on_one_address_is_not_left_out():
    """Half of the clients would reach another program."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use") as refused:
            listen_at([HERE, (socket.AF_INET, ("127.0.0.2", 0))], port)
    assert refused.value.errno == errno.EADDRINUSE
    with socket.create_server(("127.0.0.1", port)):
        pass  # what was bound before the failure is free again


@pytest.mark.parametrize("number", [errno.EADDRINUSE, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_trouble_of_an_address_that_the_machine_has_is_never_left_out(number):
    assert number not in ADDRESS_NOT_AVAILABLE
