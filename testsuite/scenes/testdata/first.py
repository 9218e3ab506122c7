"""The first start in an empty folder, without any configuration: what is printed is all one needs."""

import asyncio
import ctypes
import fcntl
import os
import re
import signal
import socket
import struct

from scene import Actor, check, equal, message, play, timely


async def what_is_printed_can_be_pasted(house):
    loopback()
    server = await start(house)
    try:
        log = await until_ready(server)
        created = re.search(r"created (\S+) with the password (\S+) ", log)
        check(created, f"no account in {log}")
        user, password = created.groups()
        lines = [line for line in log.splitlines() if line.startswith("curl ")]
        equal(len(lines), 1, f"lines to paste in {log}")
        # As slixmpp's tutorials have it, with no choice of a mechanism.
        a = Actor(house, user, password, mech=None)
        await a.login()
        shell = await asyncio.create_subprocess_shell(lines[0] + " -s", stdout=asyncio.subprocess.PIPE)
        out, _ = await timely(shell.communicate(), "curl")
        equal(out, b"OK\n", lines[0])
        m = await a.expect("the message", message())
        check(m["body"] and f"<body>{m['body']}</body>" in lines[0], f"message {m}")
        equal(oct(os.stat(os.path.join(house.dir, "data")).st_mode & 0o777), "0o700", "mode of the data directory")
        await a.leave()
    finally:
        server.send_signal(signal.SIGTERM)
        code = await timely(server.wait(), "the server's end")
    equal(code, 0, "exit code after SIGTERM")

    server = await start(house)
    try:
        log = await until_ready(server)
        check("password" not in log and "curl" not in log, f"the second start prints {log}")
        await Actor(house, user, password, mech=None).login()
    finally:
        server.send_signal(signal.SIGTERM)
        await timely(server.wait(), "the server's end")


async def start(house):
    return await asyncio.create_subprocess_exec(house.binary, "serve", cwd=house.dir, stdin=asyncio.subprocess.DEVNULL,
                                                stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
                                                preexec_fn=die_with_parent)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


async def until_ready(server):
    log = ""
    while "jackdaw: ready" not in log:
        line = await timely(server.stderr.readline(), f"jackdaw: ready after {log}")
        check(line, f"the server ended at once: {log}")
        log += line.decode()
    return log


def loopback():
    """Turns the loopback interface of a network of its own on; elsewhere it is on, and not ours to change."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
        except PermissionError:
            pass


if __name__ == "__main__":
    play(what_is_printed_can_be_pasted)
