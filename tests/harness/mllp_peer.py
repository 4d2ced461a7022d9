# SPDX-License-Identifier: Apache-2.0
"""A receiving HL7 system that does what a test says: answers, silence, faults; plain or inside TLS. In the test's own process."""
import socket
import ssl
import threading

from .hub import free_port


class Peer:
    """Listens on a port of loopback. answer(message, number) is called for each message (bytes without framing, counted from 1) and gives what is sent
    back: bytes, a list of bytes (pieces), None for silence, or an exception class for closing; close_after, once true, closes after an answer."""

    def __init__(self, answer=None, context=None, port=None):
        self.port, self.context = port or free_port(), context
        self.answer = answer or (lambda message, number: ack(message))
        self.messages, self.connections, self.certificates, self.refused = [], 0, [], []
        self.ended = False
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.listener.settimeout(0.1)
        self.open = []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while not self.ended:
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        self.open.append(client)
        try:
            client.settimeout(60)
            if self.context is not None:
                client = self.context.wrap_socket(client, server_side=True)
                self.open.append(client)
                self.certificates.append(client.getpeercert())
            self.connections += 1
            self._talk(client)
        except ssl.SSLError as failure:
            self.refused.append(str(failure))
        except (OSError, EOFError, StopServing):
            pass
        finally:
            client.close()

    def _talk(self, client):
        data = b""
        while True:
            while b"\x1c\r" not in data:
                more = client.recv(65536)
                if not more:
                    raise EOFError
                data += more
            frame, _, data = data.partition(b"\x1c\r")
            message = frame[frame.rindex(b"\x0b") + 1:]
            self.messages.append(message)
            answer = self.answer(message, len(self.messages))
            if answer is StopServing:
                raise StopServing
            for piece in answer if isinstance(answer, list) else [answer]:
                if piece is StopServing:
                    raise StopServing
                if piece is not None:
                    client.sendall(piece)

    def controls(self):
        return [control(m) for m in list(self.messages)]

    def stop(self):
        self.ended = True
        self.listener.close()
        for client in list(self.open):
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.thread.join()


class StopServing(Exception):
    """As an answer: the connection is closed."""


def field(message, number):
    return message.split(b"\r")[0].split(b"|")[number - 1]


def control(message):
    return field(message, 10).decode()


def framed(text):
    return b"\x0b" + text + b"\x1c\r"


def ack(message, code="AA", of=None, text=""):
    return framed(f"MSH|^~\\&|PEER||||20260101000000||ACK|1|P|2.6\rMSA|{code}|{of or control(message)}|{text}\r".encode())


def server_context(certificate, key, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context
