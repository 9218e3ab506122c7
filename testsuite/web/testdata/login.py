"""Logs in with Debian's python3-slixmpp by TLS from the first byte, without ALPN, and says as whom.

Arguments: HOST:PORT, address, password.
"""

import asyncio
import ssl
import sys

import slixmpp

at, address, password = sys.argv[1:]
host, port = at.rsplit(":", 1)
client = slixmpp.ClientXMPP(address, password, sasl_mech="PLAIN")
client.ssl_context = ssl._create_unverified_context()
client.get_ssl_context = lambda: client.ssl_context
done = client.loop.create_future()
client.add_event_handler("session_start", lambda _: done.set_result(client.boundjid.full))
client.add_event_handler("failed_auth", lambda _: done.set_exception(RuntimeError("not authorized")))
client.connect((host, int(port)), use_ssl=True)
print(client.loop.run_until_complete(asyncio.wait_for(done, 60)))
client.disconnect()
client.loop.run_until_complete(asyncio.wait_for(client.disconnected, 60))
