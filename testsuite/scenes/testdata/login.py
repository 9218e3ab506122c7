"""Logins (RFC 6120 §5 and §6, XEP-0368): each mechanism over STARTTLS and direct TLS, and what is refused."""

import hashlib

from scene import PASSWORD, Actor, check, denied, equal, message, play, unbound

from slixmpp.util.sasl.mechanisms import SCRAM

SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"


def end_point(actor):
    """Has slixmpp bind to the server's certificate: tls-server-end-point (RFC 5929 §4)."""
    mechanisms = actor["feature_mechanisms"]
    mechanisms.sasl_callback = lambda required, optional: mechanisms._default_credentials(required, optional) | {
        "channel_binding": hashlib.sha256(actor.socket.getpeercert(True)).digest()}
    return actor


def first_message(self, challenge, original=SCRAM.process_1):
    said = original(self, challenge)
    if self.credentials["channel_binding"] and len(self.credentials["channel_binding"]) == 32:
        for name in ["gs2_header", "client_first_message"]:
            setattr(self, name, getattr(self, name).replace(b"p=tls-unique", b"p=tls-server-end-point"))
        return self.client_first_message
    return said


SCRAM.process_1 = first_message


def offered(actor):
    """Keeps the mechanisms of each <stream:features/>."""
    seen = []
    actor.add_filter("in", lambda s: (seen.append([m.text for m in s.xml.iter(f"{SASL}mechanism")])
                                      if s.xml.tag.endswith("}features") else None, s)[1])
    return seen


async def each_mechanism_over_both_kinds_of_tls(house):
    user = await house.users("romeo")
    for direct in [False, True]:
        for mech in ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"]:
            a = unbound(Actor(house, f"{user}/{mech}", mech=mech, direct=direct))
            lists = offered(a)
            await a.login()
            equal(str(a.boundjid), f"{user}/{mech}", "bound address")
            equal(lists[0] == [], not direct, f"mechanisms in clear: {lists[0]}")
            offer = lists[-2]  # before authentication, under TLS
            equal(set(offer), {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN"}, "offer")
            equal(offer[0], "SCRAM-SHA-256-PLUS", "the first that is offered")
        for mech in ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"]:
            await end_point(Actor(house, f"{user}/{mech}", mech=mech, direct=direct)).login()


async def slixmpp_as_it_is_comes_in(house):
    # It offers tls-unique, which TLS 1.3 has not, and tries one mechanism after the other down to PLAIN.
    user = await house.users("romeo")
    a = await house.login(user, mech=None)
    a.say(user, "here I am")
    await a.expect("a message to oneself", message("here I am"))


async def wrong_credentials_are_refused(house):
    romeo = await house.users("romeo")
    for user in [romeo, f"nobody@{house.domain}"]:
        for mech in ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]:
            equal(await unbound(Actor(house, f"{user}/x", "wrong", mech)).refused(), "not-authorized", f"{user} by {mech}")
    await house.login(romeo)


async def wrong_passwords_are_refused_when_bound(house):
    romeo = await house.users("romeo")
    for user in [romeo, f"nobody@{house.domain}"]:
        for mech in ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"]:
            equal(await end_point(Actor(house, f"{user}/x", "wrong", mech)).refused(), "not-authorized", f"{user} by {mech}")
    await house.login(romeo)


async def a_binding_to_another_channel_is_refused(house):
    romeo = await house.users("romeo")
    a = Actor(house, f"{romeo}/x", mech="SCRAM-SHA-256-PLUS")
    mechanisms = a["feature_mechanisms"]
    mechanisms.sasl_callback = lambda required, optional: mechanisms._default_credentials(required, optional) | {
        "channel_binding": hashlib.sha256(b"a certificate in the middle").digest()}
    equal(await a.refused(), "not-authorized", "a login through somebody in the middle")


async def a_disabled_account_is_refused_and_its_sessions_end(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    await house.command("user", "disable", romeo)
    await r.ended("not-authorized")
    for mech in ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]:
        condition = await unbound(Actor(house, f"{romeo}/x", PASSWORD, mech)).refused()
        check(condition in ("not-authorized", "account-disabled"), f"login by {mech}: {condition}")
    j.say(romeo, "for when you are back")
    await j.settle()
    await house.command("user", "enable", romeo)
    back = await house.login(romeo)
    await back.expect("a message of that time", message("for when you are back"))


async def resources_are_bound(house):
    user = await house.users("romeo")
    a = await house.login(user, "desk")
    made = Actor(house, user)
    await made.login()
    check(made.boundjid.resource not in ("", "desk"), f"a resource by the server: {made.boundjid}")
    again = await house.login(user, "desk")
    await a.ended("conflict")  # RFC 6120 §7.7.2.2: the newer one stays
    await again.settle()
    await denied(again.ask("set", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"), "not-allowed", "a second resource")


if __name__ == "__main__":
    play(each_mechanism_over_both_kinds_of_tls, slixmpp_as_it_is_comes_in, wrong_credentials_are_refused,
         wrong_passwords_are_refused_when_bound, a_binding_to_another_channel_is_refused,
         a_disabled_account_is_refused_and_its_sessions_end, resources_are_bound)
