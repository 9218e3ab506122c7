"""A network of one, for slidge: Wanda, who answers, and who repeats what was written elsewhere."""

import slixmpp
from slidge import BaseGateway, BaseSession
from slidge.command.base import FormField
from slidge.contact import LegacyContact, LegacyRoster
from slixmpp.exceptions import XMPPError

slixmpp.xmlstream.xmlstream.XMLStream.use_aiodns = False


class Gateway(BaseGateway):
    COMPONENT_NAME = "A network of one"
    COMPONENT_TYPE = "one"
    ROSTER_GROUP = "One"
    REGISTRATION_FIELDS = [FormField(var="username", label="Name", required=True)]

    async def validate(self, user_jid, registration_form):
        if registration_form["username"] != "romeo":
            raise XMPPError("not-allowed", "Nobody has this name")
        return dict(registration_form)


class Contact(LegacyContact):
    async def update_info(self):
        self.name = "Wanda of the network"
        self.is_friend = True
        self.online("here")

    async def on_message(self, message):
        """Answers, or, to "elsewhere: TEXT", has TEXT been written to her by another client of the network."""
        command, _, text = message.body.partition(": ")
        if command == "elsewhere":
            self.send_text(text, carbon=True)
        else:
            self.send_text(message.body[::-1])
        return None


class Roster(LegacyRoster):
    async def fill(self):
        wanda = await self.by_legacy_id("wanda")
        await wanda.add_to_roster()  # slidge 0.4.2 takes itself for its own tests here, and does not
        yield wanda


class Session(BaseSession):
    async def login(self):
        return "connected"

    async def logout(self):
        pass
