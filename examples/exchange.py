#!/usr/bin/env python3
"""Exchanges codes and refresh tokens for tokens, for programs with client_auth = "back_end": the client secret
stays here.

    exchange.py PORT TOKEN_ENDPOINT CLIENT_ID SECRET_FILE

It listens on this computer. Put a web server with TLS in front of it, and set exchange_url to that one.
"""
import http.server
import sys
import urllib.error
import urllib.parse
import urllib.request

port, token_endpoint, client_id, secret_file = sys.argv[1:]
with open(secret_file, encoding="utf-8") as file:
    secret = file.read().strip()

ALLOWED = {
    "authorization_code": ("code", "code_verifier", "redirect_uri"),
    "refresh_token": ("refresh_token", "organization_id", "care_team_id", "patient_id", "episode_of_care_id"),
}


class Exchange(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        grant = "refresh_token" if "refresh_token" in form else "authorization_code"
        # Nothing else of what a desktop sends reaches the provider.
        sent = {name: form[name] for name in ALLOWED[grant] if name in form}
        sent.update(grant_type=grant, client_id=client_id, client_secret=secret)
        try:
            answer = urllib.request.urlopen(token_endpoint, urllib.parse.urlencode(sent).encode(), timeout=10)
        except urllib.error.HTTPError as refusal:
            answer = refusal
        tokens = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(tokens)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(tokens)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Exchange)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
