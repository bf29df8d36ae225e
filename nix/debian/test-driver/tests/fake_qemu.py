"""Behaves like QEMU as far as the driver can see: sockets, console, monitor; the first argument is what it does."""

import json
import socket
import sys
import time


def argument(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def main() -> None:
    if sys.argv[1] == "refuse":
        sys.exit("fake QEMU: no such machine")
    qmp_path = argument("-qmp").removeprefix("unix:").split(",")[0]
    server = socket.socket(socket.AF_UNIX)
    server.bind(qmp_path)
    server.listen(1)
    monitor = socket.socket(socket.AF_UNIX)
    monitor.connect(argument("-monitor").removeprefix("unix:"))
    shell = socket.socket(socket.AF_UNIX)
    shell.connect(argument("-chardev").split("path=")[1])
    qmp, _ = server.accept()
    qmp.sendall(b'{"QMP": {}}\n')
    qmp.recv(4096)
    qmp.sendall(b'{"event": "RESUME"}\n{"return": {}}\n')
    monitor.sendall(b"QEMU 0.0 monitor\n(qemu) ")
    print("booting\r\nvery near\r", flush=True)
    if sys.argv[1] == "echo":
        print("said", sys.stdin.readline(), flush=True)
    elif sys.argv[1] == "hang":
        time.sleep(600)
    command = monitor.recv(4096).decode()
    if command == "quit\n":
        event = {"event": "SHUTDOWN", "data": {"reason": "host-qmp-quit"}}
        qmp.sendall(json.dumps(event).encode() + b"\n")
    else:
        monitor.sendall(f"got {command}(qemu) ".encode())
        monitor.recv(4096)


main()
