"""Serves the page to this machine alone. Standard library only.

Whoever may open the page may change the store's reviews, so that it listens on the loopback address, is found by a
random token only, and answers to no other name than its own: a page of somebody else's that points its name at this
machine is refused (DNS rebinding), as is one that sends a form here.
"""

import json
import secrets
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ['Answers', 'BrowseServer', 'PAGE']

PAGE = Path(__file__).parent / 'page'
FILES = {
    '': ('index.html', 'text/html'),
    'page.css': ('page.css', 'text/css'),
    'page.js': ('page.js', 'text/javascript'),
}
HEADERS = {
    'Content-Security-Policy': "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
}
_LONGEST = 10_000  # bytes of an act


class Answers(Protocol):
    """What the page asks for; all but pictures is JSON."""

    def summary(self) -> dict[str, Any]: ...

    def samples(self, values: Mapping[str, str]) -> dict[str, Any]: ...

    def picture(self, id: str, kind: str, whole: bool) -> bytes | None: ...

    def review(self, values: Mapping[str, Any]) -> dict[str, Any]: ...


class BrowseServer(ThreadingHTTPServer):
    """On the loopback address.

    Args:
        answers (Answers): What it tells.
        port (int): 0 for any that is free.

    Attributes:
        address (str): Of the page, token included.
    """

    daemon_threads = True

    def __init__(self, answers: Answers, port: int = 0) -> None:
        super().__init__(('127.0.0.1', port), _Handler)
        self.answers, self.token = answers, secrets.token_urlsafe(24)
        self.names = {f'{host}:{self.server_port}' for host in ('127.0.0.1', 'localhost')}
        self.address = f'http://127.0.0.1:{self.server_port}/{self.token}/'

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that went away between two requests, as each does when it is closed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, text: str = '') -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: BrowseServer
    protocol_version = 'HTTP/1.1'
    server_version, sys_version = 'diff2in1', ''
    timeout = 60

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, make: Callable[[str], tuple[str, bytes]]) -> None:
        try:
            kind, content = make(self._inside())
            self._send(HTTPStatus.OK, kind, content)
        except _Refused as refused:
            self.close_connection = True  # a body may be left unread
            self._send(refused.status, 'text/plain', f'{refused.status.phrase}. {refused}'.encode())
        except (ValueError, OSError) as error:
            if isinstance(error, ConnectionError):  # the browser went on
                self.close_connection = True
                return
            self._send(HTTPStatus.BAD_REQUEST, 'text/plain', str(error).encode())

    def _inside(self) -> str:
        """What is asked for, behind the token."""
        if self.headers.get('Host') not in self.server.names:
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, 'Open the address that the program has printed.')
        origin = self.headers.get('Origin')
        if origin is not None and origin.removeprefix('http://') not in self.server.names:
            raise _Refused(HTTPStatus.FORBIDDEN)
        _, token, *rest = urlsplit(self.path).path.split('/', 2)
        if not secrets.compare_digest(token.encode(), self.server.token.encode()) or not rest:
            raise _Refused(HTTPStatus.NOT_FOUND)
        return rest[0]

    def _get(self, name: str) -> tuple[str, bytes]:
        values = dict(parse_qsl(urlsplit(self.path).query))
        if name in FILES:
            file, kind = FILES[name]
            return f'{kind}; charset=utf-8', (PAGE / file).read_bytes()
        if name == 'summary':
            return _json(self.server.answers.summary())
        if name == 'samples':
            return _json(self.server.answers.samples(values))
        folder, _, rest = name.partition('/')
        id, _, kind = rest.partition('/')
        picture = None
        if folder == 'picture':
            picture = self.server.answers.picture(unquote(id), unquote(kind), values.get('whole') == '1')
        if picture is None:
            raise _Refused(HTTPStatus.NOT_FOUND)
        return 'image/jpeg', picture

    def _post(self, name: str) -> tuple[str, bytes]:
        if name != 'review':
            raise _Refused(HTTPStatus.NOT_FOUND)
        if self.headers.get('Content-Type') != 'application/json':  # which a form cannot send
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        length = int(self.headers.get('Content-Length') or 0)
        if not 0 < length <= _LONGEST:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        values = json.loads(self.rfile.read(length))
        if not isinstance(values, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST)
        return _json(self.server.answers.review(values))

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            # labels may be corrected meanwhile, and nothing of a private store is to stay on the disk
            self.send_header('Cache-Control', 'no-store')
            self.send_header('Content-Type', kind)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: every picture would be a line, with the token in it."""


def _json(value: Any) -> tuple[str, bytes]:
    return 'application/json', json.dumps(value).encode()
