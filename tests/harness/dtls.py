# SPDX-License-Identifier: Apache-2.0
"""A DTLS 1.2 client, with a pre-shared key or a certificate, whose every datagram the test writes itself: OpenSSL by ctypes (Python's ssl has no DTLS), and the bytes of
CoAP (RFC 7252 section 3)."""
import ctypes
import ctypes.util
import select
import socket
import time

_ssl = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
_crypto = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
_PSK = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint)
for _name in ("DTLS_client_method", "SSL_CTX_new", "SSL_new"):
    getattr(_ssl, _name).restype = ctypes.c_void_p
_crypto.BIO_new_dgram.restype = _ssl.SSL_get1_peer_certificate.restype = _ssl.SSL_get_session.restype = _ssl.SSL_SESSION_dup.restype = ctypes.c_void_p
_ssl.SSL_get_error.argtypes = [ctypes.c_void_p, ctypes.c_int]
_ssl.SSL_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
_crypto.BIO_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
_BIO_SET_CONNECTED, _SSL_HANDLE_TIMEOUT, _WANT_READ, _PEM, _VERIFY_PEER = 32, 74, 2, 1, 1


class Closed(Exception):
    """The other end has ended the session, or refused it."""


class Dtls:
    def __init__(self, port, identity=None, key=None, host="127.0.0.1", source=None, port_here=0, connect=True, certificate=None, ca=None, suites=None, session=None):
        """identity with key (bytes); or certificate, a pair of paths, and ca: who the gateway has to be signed by. session: one of
        session(), to be resumed."""
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        if source:
            self.sock.bind((source, port_here))
        self.sock.connect((host, port))
        self.sock.setblocking(False)
        self._context = ctypes.c_void_p(_ssl.SSL_CTX_new(ctypes.c_void_p(_ssl.DTLS_client_method())))
        if certificate:
            self._use_certificate(*certificate, ca)
        else:
            self._callback = _PSK(lambda *args: self._give_key(identity.encode(), key, *args))
            _ssl.SSL_CTX_set_psk_client_callback(self._context, self._callback)
        suites = suites or ("ECDHE-ECDSA-AES128-GCM-SHA256" if certificate else "PSK-AES128-CCM8:PSK-AES128-GCM-SHA256")
        assert _ssl.SSL_CTX_set_cipher_list(self._context, suites.encode() + b":@SECLEVEL=0") == 1
        self._ssl = ctypes.c_void_p(_ssl.SSL_new(self._context))
        if session:
            assert _ssl.SSL_set_session(self._ssl, session) == 1
        bio = ctypes.c_void_p(_crypto.BIO_new_dgram(self.sock.fileno(), 0))
        where = socket.inet_pton(self.sock.family, host)
        family = self.sock.family.to_bytes(2, "little") + port.to_bytes(2, "big")
        address = family + (where if len(where) == 4 else bytes(4) + where + bytes(4)) + bytes(16)
        _crypto.BIO_ctrl(bio, _BIO_SET_CONNECTED, 0, ctypes.create_string_buffer(address))
        _ssl.SSL_set_bio(self._ssl, bio, bio)
        if connect:
            self.connect()

    def _use_certificate(self, certificate, key, ca):
        assert _ssl.SSL_CTX_use_certificate_chain_file(self._context, str(certificate).encode()) == 1
        assert _ssl.SSL_CTX_use_PrivateKey_file(self._context, str(key).encode(), _PEM) == 1
        assert _ssl.SSL_CTX_load_verify_locations(self._context, str(ca).encode(), None) == 1
        _ssl.SSL_CTX_set_verify(self._context, _VERIFY_PEER, None)

    def shown(self):
        """The gateway's certificate, as DER."""
        certificate, out = ctypes.c_void_p(_ssl.SSL_get1_peer_certificate(self._ssl)), ctypes.c_void_p()
        length = _crypto.i2d_X509(certificate, ctypes.byref(out))
        data = ctypes.string_at(out, length)
        _crypto.CRYPTO_free(out, b"", 0)
        _crypto.X509_free(certificate)
        return data

    def session(self):
        """For another one to resume, whatever becomes of this one; never freed."""
        return ctypes.c_void_p(_ssl.SSL_SESSION_dup(ctypes.c_void_p(_ssl.SSL_get_session(self._ssl))))

    def resumed(self):
        return _ssl.SSL_session_reused(self._ssl) == 1

    @staticmethod
    def _give_key(identity, key, _ssl_, _hint, to_identity, _max, to_key, _max_key):
        ctypes.memmove(to_identity, identity + b"\0", len(identity) + 1)
        ctypes.memmove(to_key, key, len(key))
        return len(key)

    def connect(self, seconds=20):
        end = time.monotonic() + seconds
        while True:
            rc = _ssl.SSL_connect(self._ssl)
            if rc == 1:
                return
            if _ssl.SSL_get_error(self._ssl, rc) != _WANT_READ:
                _crypto.ERR_clear_error()
                raise Closed("handshake refused")
            if time.monotonic() > end:
                raise TimeoutError("handshake")
            self._wait(0.2)
            _ssl.SSL_ctrl(self._ssl, _SSL_HANDLE_TIMEOUT, 0, None)

    def _wait(self, seconds):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        poll.poll(seconds * 1000)

    def send(self, data):
        assert _ssl.SSL_write(self._ssl, data, len(data)) == len(data)

    def receive(self, seconds=20):
        """The next message, or None if none comes."""
        end = time.monotonic() + seconds
        buf = ctypes.create_string_buffer(2048)
        while True:
            n = _ssl.SSL_read(self._ssl, buf, len(buf))
            if n > 0:
                return Message.parse(buf.raw[:n])
            error = _ssl.SSL_get_error(self._ssl, n)
            if error != _WANT_READ:
                _crypto.ERR_clear_error()
                raise Closed(f"error {error}")
            left = end - time.monotonic()
            if left <= 0:
                return None
            self._wait(left)

    def ask(self, message, seconds=20):
        self.send(bytes(message))
        return self.receive(seconds)

    def vanish(self):
        """Without a word to the other end."""
        if self._ssl:
            _ssl.SSL_free(self._ssl)
            _ssl.SSL_CTX_free(self._context)
            self._ssl = None
            self.sock.close()

    def close(self):
        if self._ssl:
            _ssl.SSL_shutdown(self._ssl)
        self.vanish()


CON, NON, ACK, RST = range(4)
GET, POST, PUT, DELETE = range(1, 5)
IF_MATCH, URI_HOST, OBSERVE, URI_PORT, PATH, FORMAT, ACCEPT = 1, 3, 6, 7, 11, 12, 17
BLOCK2, BLOCK1, PROXY_URI, SIZE1, NO_RESPONSE = 23, 27, 35, 60, 258


def _nibble(value):
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes([value - 13])
    return 14, (value - 269).to_bytes(2, "big")


def uint(value):
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


class Message:
    """type, code as the byte, mid, token, options as a list of (number, bytes), payload."""

    def __init__(self, code, mid, path="", payload=b"", kind=CON, token=b"t", options=()):
        self.code, self.mid, self.payload, self.kind, self.token = code, mid, payload, kind, token
        self.options = sorted([(PATH, p.encode()) for p in path.split("/") if p] + list(options), key=lambda option: option[0])

    def __bytes__(self):
        short, long = _nibble(len(self.token))
        out = bytes([0x40 | self.kind << 4 | short, self.code]) + self.mid.to_bytes(2, "big") + long + self.token
        last = 0
        for number, value in self.options:
            delta, more_delta = _nibble(number - last)
            size, more_size = _nibble(len(value))
            out += bytes([delta << 4 | size]) + more_delta + more_size + value
            last = number
        return out + (b"\xff" + self.payload if self.payload else b"")

    @classmethod
    def parse(cls, data):
        message = cls(data[1], int.from_bytes(data[2:4], "big"), kind=data[0] >> 4 & 3, token=data[4:4 + (data[0] & 15)])
        at, number = 4 + (data[0] & 15), 0
        while at < len(data) and data[at] != 0xff:
            delta, size, at = data[at] >> 4, data[at] & 15, at + 1
            parts = []
            for value in (delta, size):
                if value == 13:
                    value, at = 13 + data[at], at + 1
                elif value == 14:
                    value, at = 269 + int.from_bytes(data[at:at + 2], "big"), at + 2
                parts.append(value)
            number += parts[0]
            message.options.append((number, data[at:at + parts[1]]))
            at += parts[1]
        message.payload = data[at + 1:]
        return message

    def option(self, number):
        return next((value for n, value in self.options if n == number), None)

    @property
    def status(self):
        return f"{self.code >> 5}.{self.code & 31:02d}"

    def __repr__(self):
        return f"<{('CON', 'NON', 'ACK', 'RST')[self.kind]} {self.status} mid={self.mid} token={self.token!r} {self.options} {self.payload!r}>"
