"""A small server on this machine that sends one file, well or badly, for tests of downloads."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WeightsServer:
    """Serves ``content`` at :attr:`url`. Use it as a context.

    :param content: the file.
    :param ranges: whether parts can be asked for.
    :param stop_after: bytes after which the connection is cut, in the first ``breaks`` answers.
    :param redirect: address to send clients to, instead of the file.
    :param status: another status than 200 or 206.
    :param pause: an Event that is waited for after half of the file.
    :param certificate: a file with a key and its certificate, to answer over https.
    """

    def __init__(
        self,
        content,
        *,
        ranges=True,
        stop_after=None,
        breaks=1,
        redirect=None,
        status=None,
        pause=None,
        certificate=None,
    ):
        self.content, self.ranges, self.stop_after, self.breaks = content, ranges, stop_after, breaks
        self.redirect, self.status, self.pause, self.certificate = redirect, status, pause, certificate
        self.asked = []  # the Range header of each request, or None

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http{'s' if self.certificate else ''}://127.0.0.1:{self._http.server_address[1]}/weights.pth"
        return self

    def __exit__(self, *_):
        if self.pause:
            self.pause.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request):
        asked = request.headers.get("Range")
        self.asked.append(asked)
        total, start = len(self.content), 0
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        if self.status:
            request.send_error(self.status)
            return
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= total:
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{total}")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(total - start))
        request.end_headers()
        body = self.content[start:]
        if self.stop_after is not None and self.breaks > 0:
            self.breaks -= 1
            request.wfile.write(body[: self.stop_after])
            return  # HTTP/1.0: the connection ends here
        half = len(body) // 2
        request.wfile.write(body[:half])
        request.wfile.flush()
        if self.pause:
            self.pause.wait(20)
        request.wfile.write(body[half:])
