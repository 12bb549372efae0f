# ruff: noqa: B007, I001, RUF005
"""TLS streams that wait in the operating system.

The interpreter's TLS socket has no file descriptor of its own, so its poll would look at it every
millisecond. Here `ssl.SSLContext.wrap_socket` returns the same stream behind a thin face that remembers
what the last read or write met: after a read that met nothing, only the socket underneath can bring more.
"""

import bus
import board_time
import io
import ssl
import uselect

_POLLIN = uselect.POLLIN
_POLLOUT = uselect.POLLOUT
_ENOMEM = 12
_REFUSED = -0x3000  # MBEDTLS_ERR_X509_FATAL_ERROR ends the handshake
_IOCTL_POLL = 3
_IOCTL_CLOSE = 4
_RETRY_US = 2000  # of the host's time: a write that waits for the handshake's next message


class TLSStream(io.IOBase):
    def __init__(self, raw, secured, dates):
        self._raw = raw
        self._tls = secured
        self._dry = True  # the last read met nothing: no decrypted bytes are left over
        self._stuck = False  # the last write met a handshake that waits for the other side
        self._watched = 0
        self._dates = dates  # what the board's own clock has against the certificates
        self._look = uselect.poll()
        self._look.register(raw, _POLLIN | _POLLOUT)

    def read(self, *size):
        data = self._tls.read(*size)
        self._dry = data is None
        return data

    def readinto(self, buffer, *size):
        count = self._tls.readinto(buffer, *size)
        self._dry = count is None
        return count

    def readline(self, *size):
        data = self._tls.readline(*size)
        self._dry = data is None
        return data

    def write(self, data, *span):
        try:
            count = self._tls.write(data, *span)
        except OSError:
            if self._dates:
                raise ValueError(self._dates[0]) from None
            raise
        self._stuck = count is None
        return count

    def close(self):
        self._tls.close()
        self._tls = None

    def setblocking(self, flag):
        self._raw.setblocking(flag)

    def fileno(self):
        return self._raw.fileno()

    def __getattr__(self, name):
        return getattr(self._tls, name)

    def ioctl(self, request, argument):
        if request == _IOCTL_CLOSE:
            self.close()
            return 0
        if request != _IOCTL_POLL:
            return -1
        if self._tls is None:
            return 32  # POLLNVAL
        ready = 0
        for _, ready in self._look.poll(0):
            pass
        found = ready & ~(_POLLIN | _POLLOUT)
        if argument & _POLLIN and (not self._dry or ready & _POLLIN):
            found |= _POLLIN
        if argument & _POLLOUT and ready & _POLLOUT and (not self._stuck or ready & _POLLIN):
            found |= _POLLOUT
        if argument & _POLLOUT and self._stuck:
            self._stuck = False  # try again after _RETRY_US at the latest
        return found

    def watch(self, host, events):
        """Let a poll of the host wake up for this stream; returns for how long it may wait at most."""
        wanted = _POLLIN if events & _POLLIN else 0
        if events & _POLLOUT:
            wanted = _POLLIN
        if self._watched != wanted:
            host.register(self._raw, wanted)
            self._watched = wanted
        return _RETRY_US if events & _POLLOUT else 1 << 61

    def unwatch(self, host):
        if self._watched:
            host.unregister(self._raw)
            self._watched = 0


_wrap = ssl.SSLContext.wrap_socket


def wrap_socket(self, sock, **options):
    starved, dates = bus.call("tls")
    if starved & 1:
        raise OSError(_ENOMEM)  # what MBEDTLS_ERR_SSL_ALLOC_FAILED becomes
    if starved:
        raise MemoryError("memory allocation failed, allocating 4096 bytes")
    found = []
    if dates:

        def look(certificate, depth):
            reason = out_of_force(bytes(certificate))
            if reason:
                found.append(reason)
            return _REFUSED if reason else 0

        self._context.verify_callback = look  # of ssl.SSLContext, which is written in Python
    return TLSStream(sock, _wrap(self, sock, **options), found)


def out_of_force(certificate):
    """What mbedTLS says of a certificate (DER) that does not hold at the board's own clock, or None."""
    at = certificate.find(b"\x17\x0d")
    begins, ends = certificate[at + 2 : at + 14], certificate[at + 17 : at + 29]
    now = board_time.gmtime()
    now = b"%02d%02d%02d%02d%02d%02d" % ((now[0] - 2000,) + now[1:6])
    if now < begins:
        return "The certificate validity starts in the future\n"
    return "The certificate validity has expired\n" if now > ends else None


ssl.SSLContext.wrap_socket = wrap_socket
