"""Who may open the page, and what it is told."""

import http.client
import json
import socket
import struct
import threading

import pytest

from .conftest import EVIL, EVIL_FILE


def ask(server, path, method='GET', body=None, **headers):
    """Status, headers and content of an answer; ``path`` behind the token, unless it begins with a slash."""
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port)
    path = path if path.startswith('/') else f'/{server.token}/{path}'
    connection.putrequest(method, path, skip_host=True)
    headers.setdefault('Host', f'127.0.0.1:{server.server_port}')
    content = b'' if body is None else json.dumps(body).encode()
    for name, value in headers.items():
        connection.putheader(name.replace('_', '-'), value)
    if body is not None:
        connection.putheader('Content-Length', str(len(content)))
    connection.endheaders(content)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def review(server, **headers):
    body = dict(act='reject', id='r000_s0000001_k00')
    return ask(server, 'review', 'POST', body, **{'Content_Type': 'application/json', **headers})


def test_only_who_knows_the_token_and_calls_it_by_its_name_is_answered(server):
    assert server.server_address[0] == '127.0.0.1' and len(server.token) >= 32
    assert ask(server, '')[0] == ask(server, '', Host=f'localhost:{server.server_port}')[0] == 200
    for path in ('/', '/summary', f'/{server.token[:-1]}/summary', f'/{server.token}', '/%C3%A9/'):
        assert ask(server, path)[0] == 404, path
    for host in ('evil.example', f'evil.example:{server.server_port}', '127.0.0.1'):  # a name that points here
        assert ask(server, 'summary', Host=host)[0] == 421
    assert ask(server, 'page.js', Origin='http://evil.example')[0] == 403


def test_pages_of_others_cannot_review(server, session):
    for headers in (dict(Origin='http://evil.example'), dict(Origin='null'), dict(Content_Type='text/plain')):
        assert review(server, **headers)[0] in (403, 415)
    assert ask(server, 'review')[0] == 404  # by GET, as an image could
    assert not session.catalogue.reviews.path.exists()
    status, _, content = review(server, Origin=f'http://127.0.0.1:{server.server_port}')
    assert status == 200 and json.loads(content)['row']['verdict'] == 'reject'


def test_nothing_from_elsewhere_is_fetched_or_run(server):
    for path in ('', 'page.js', 'page.css', 'summary', 'nothing'):
        _, headers, content = ask(server, path)
        policy = headers['Content-Security-Policy']
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and 'unsafe' not in policy
        assert headers['X-Content-Type-Options'] == 'nosniff' and headers['Referrer-Policy'] == 'no-referrer'
        assert b'http:' not in content and b'https:' not in content


def test_no_text_of_a_store_can_become_markup(server, ids):
    row = json.loads(ask(server, 'samples?count=1')[2])['rows'][0]
    assert row['caption'] == EVIL and row['source'].endswith(EVIL_FILE)
    assert ask(server, 'samples?count=1')[1]['Content-Type'] == 'application/json'
    script = ask(server, 'page.js')[2].decode()
    for way in ('innerHTML', 'outerHTML', 'insertAdjacentHTML', 'write(', 'eval(', 'Function(', 'DOMParser', 'setHTML'):
        assert way not in script, way
    assert 'createContextualFragment' not in script and 'textContent' in script
    _, headers, _ = ask(server, 'samples?sort=<img src=x onerror=alert(1)>'.replace(' ', '%20'))
    assert headers['Content-Type'] == 'text/plain'  # what was asked for is told again


def test_a_browser_that_is_closed_leaves_no_word_on_the_terminal(server, capfd):
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port)
    connection.request('GET', f'/{server.token}/summary')
    connection.getresponse().read()  # the server waits for what is asked next
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))  # it will see a reset
    connection.close()
    for thread in threading.enumerate():
        if 'process_request_thread' in thread.name:
            thread.join(5)
    assert capfd.readouterr() == ('', '') and ask(server, 'summary')[0] == 200


def test_samples_and_pictures(server, ids):
    answer = json.loads(ask(server, 'samples?sort=confidence&count=2')[2])
    assert answer['total'] == 6 and [row['id'] for row in answer['rows']] == ids[:3:-1]
    assert json.loads(ask(server, 'samples?count=1')[2])['rows'][0]['caption'] == EVIL
    summary = json.loads(ask(server, 'summary')[2])
    assert (
        summary['figures'] == ['confidence', 'diversity', 'ignored'] and summary['samples'] == summary['measured'] == 6
    )
    for kind in ('source', 'sample', 'label%20segmentation'):
        status, headers, content = ask(server, f'picture/{ids[0]}/{kind}')
        assert status == 200 and headers['Content-Type'] == 'image/jpeg' and content[:2] == b'\xff\xd8'
    for path in ('picture/none/sample', f'picture/{ids[0]}/beside', 'picture/..%2F..%2Fstore.json/sample', 'samples/x'):
        assert ask(server, path)[0] == 404, path
    for path in ('samples?sort=beauty', 'samples?offset=x', 'samples?verdict=maybe'):
        status, headers, content = ask(server, path)
        assert status == 400 and headers['Content-Type'] == 'text/plain' and content, path


@pytest.mark.parametrize('body', [[], 'x', dict(act='love', id='r000_s0000001_k00'), dict(act='reject', id='../x')])
def test_acts_that_are_none_change_nothing(server, session, body):
    assert ask(server, 'review', 'POST', body, Content_Type='application/json')[0] == 400
    assert ask(server, 'review', 'POST', ['x' * 20000], Content_Type='application/json')[0] == 413
    assert not session.catalogue.reviews.path.exists()
