"""Starts simulators for tests that run under Wine: simulators.py FOLDER SPINE-SIMULATOR

Prints its port. A connection brings one line, the kind of the simulator and its arguments, with tabs between them. The
reply is the path of the file that takes the simulator's output, a line, the first lines of it, and a NUL. The simulator
ends with the connection."""

import itertools
import signal
import socketserver
import subprocess
import sys
import time

folder, spine = sys.argv[1:]
numbers = itertools.count(1)
running = set()


class Simulator(socketserver.StreamRequestHandler):
    def handle(self):
        kind, *arguments = self.rfile.readline().decode().rstrip("\n").split("\t")
        command = {"spine": [spine, "--strict", "--state-dir", folder]}[kind] + arguments
        path = f"{folder}/simulator-{next(numbers)}"
        with open(path, "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        running.add(process)
        try:
            text = ""
            while "\n# Requests" not in text and process.poll() is None:
                time.sleep(0.01)
                with open(path, encoding="utf-8") as log:
                    text = log.read()
            self.wfile.write(f"Z:{path}\n{text}\0".encode())
            self.rfile.read()
        except ConnectionError:
            pass  # The test has ended.
        finally:
            process.kill()
            process.wait()
            running.discard(process)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with Server(("127.0.0.1", 0), Simulator) as server:
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    finally:
        for process in list(running):
            process.kill()
