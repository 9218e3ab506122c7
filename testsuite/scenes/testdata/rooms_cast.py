"""What the scenes of rooms share: a cast that stays logged in from one scene to the next, since a login costs more than all
that is done with it, and the words of XEP-0045."""

import contextlib
import sys

from slixmpp import JID
from slixmpp.exceptions import PresenceError, XMPPError

from scene import WITHIN, check, child, equal, is_message, presence, show, timely

PLUGINS = ["xep_0004", "xep_0030", "xep_0045", "xep_0059", "xep_0249", "xep_0313", "xep_0421", "xep_0425"]
MUC = "http://jabber.org/protocol/muc"
USER = "{" + MUC + "#user}"
INFO, ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"
DELAY = "{urn:xmpp:delay}delay"
OCCUPANT_ID = "{urn:xmpp:occupant-id:0}occupant-id"
STANZA_ID = "{urn:xmpp:sid:0}stanza-id"
MARK = "<x xmlns='" + MUC + "'/>"
CAST, ROOMS = [], []  # who is logged in for good, and the rooms of the scene that is played


def room_of(house, name="coven"):
    room = JID(f"{name}-{house.name.replace('_', '-')}-{house.count}-{len(ROOMS)}@rooms.{house.domain}")
    ROOMS.append(room)
    return room


async def cast(house, n):
    """So many users, each with one session, that remember nothing of other scenes."""
    if len(CAST) < n:
        names = [f"witch{i}" for i in range(len(CAST), n)]
        users = await house.users(*names)
        for u in [users] if isinstance(users, str) else users:
            CAST.append(await house.login(u, plugins=PLUGINS))
            house.actors.remove(CAST[-1])  # the house sends home who is there for one scene only
    house.count += 1  # for the names of rooms
    return CAST[:n]


async def strike():
    """Ends the rooms of a scene, so that the next one finds the cast with free hands."""
    for room in ROOMS:
        for a in CAST:
            with contextlib.suppress(XMPPError):
                await a.ask("set", f"<query xmlns='{MUC}#owner'><destroy/></query>", room)
    for room in ROOMS:
        for a in CAST:  # whoever owns it by now
            a.show_presence(f"{room}/x", "unavailable")
    for a in CAST + CAST:  # the second time round what the first has set off has come
        await a.settle()
        a.forget()
    ROOMS.clear()


def staged(scene):
    """The scene with the cast. After a fault there is a new one."""
    async def played(house):
        try:
            await scene(house)
            check(not any(a.ends for a in CAST), "somebody of the cast has lost the connection")
            await strike()
        except BaseException:
            for a in CAST:
                a.abort()
            CAST.clear()
            ROOMS.clear()
            raise
    played.__name__ = scene.__name__
    return played


# What the room says.

def codes(s):
    x = s.xml.find(USER + "x")
    return [] if x is None else sorted(int(c.get("code")) for c in x.findall(USER + "status"))


def item(s):
    """Affiliation, role and nick of a presence, and whether there is an address."""
    i = s.xml.find(USER + "x").find(USER + "item")
    return i.get("affiliation"), i.get("role"), i.get("nick"), i.get("jid") is not None


def reason(s):
    return s.xml.findtext(f"{USER}x/{USER}item/{USER}reason")


def at(room, nick, ptype=None):
    return presence(f"{room}/{nick}", ptype)


def invites(s):
    return is_message(s) and s.xml.find(f"{USER}x/{USER}invite") is not None


def declines(s):
    return is_message(s) and s.xml.find(f"{USER}x/{USER}decline") is not None


def has_form(s):
    return is_message(s) and child(s, "{jabber:x:data}x") is not None


def tells(*want):
    """A message of the room itself with these codes."""
    return lambda s: is_message(s) and codes(s) == list(want)


def is_error(s):
    return s.xml.get("type") == "error"


# Entering.

async def enter(actor, room, nick, **how):
    """Enters by slixmpp's plugin, which waits for the subject: own presence, subject, other occupants, history."""
    with contextlib.redirect_stdout(sys.stderr):  # slixmpp 1.8.3 prints the delays that it reads
        own, subject, occupants, history = await timely(actor["xep_0045"].join_muc_wait(room, nick, timeout=WITHIN, **how), f"{nick} enters")
    actor.forget()
    return own, subject, [p for p in occupants if p["from"] != own["from"]], history


async def walk_in(actor, room, nick, inner="", *more):
    """Enters, and returns all that comes, in its order; the last is the subject."""
    await actor.settle()
    actor.forget()
    actor.show_presence(f"{room}/{nick}", None, None, None, f"<x xmlns='{MUC}'>{inner}</x>", *more)
    await actor.settle()
    got, actor.inbox = actor.inbox, []
    check(got and child(got[-1], "{jabber:client}subject") is not None, f"{nick} does not get in: {[show(s) for s in got]}")
    return got


def own(got):
    """The presence of who has entered, among all that has come."""
    return next(s for s in got if 110 in codes(s))


async def kept_out(actor, room, nick, want, inner=""):
    """Does not get in, and is told so by the room (§7.2): type and condition of the error."""
    actor.show_presence(f"{room}/{nick}" if nick else room, None, None, None, f"<x xmlns='{MUC}'>{inner}</x>")
    s = await actor.expect(f"an error for {nick}", presence(None, "error"))
    error = s.xml.find("{jabber:client}error")
    equal((kind_of(s), error.get("by"), child(s, "{" + MUC + "}x") is not None), (want, str(room), True), f"{nick} is kept out")


async def leave(actor, room):
    actor.show_presence(f"{room}/x", "unavailable")
    await actor.expect("its own leave", presence(room, "unavailable"), lambda s: 110 in codes(s))


def kind_of(s):
    return f"{s['error']['type']} {s['error']['condition']}"


async def kept_out_by_plugin(actor, room, nick, want, **how):
    try:
        await enter(actor, room, nick, **how)
    except PresenceError as e:
        equal(e.condition, want, f"{nick} is kept out")
        return
    check(False, f"{nick} enters {room}")


# Asking.

async def refuses(actor, want, kind, payload, to):
    """The request is answered by an error: its type and condition."""
    try:
        answer = await actor.ask(kind, payload, to)
    except XMPPError as e:
        equal(f"{e.etype} {e.condition}", want, payload)
        return
    check(False, f"{payload} is answered by {show(answer)}")


async def bounces(actor, want, to, body, mtype="groupchat", *children):
    """The message comes back with an error: its type and condition."""
    mid = actor.say(to, body, mtype, None, *children)
    s = await actor.expect(f"an error for {body} {children}", is_message, lambda s: is_error(s) and s["id"] == mid)
    equal(kind_of(s), want, f"{body} {children}")


def order(*items):
    return f"<query xmlns='{MUC}#admin'>{''.join(items)}</query>"


async def administer(actor, room, *items):
    await actor.ask("set", order(*items), room)


async def may_not(actor, want, room, *items):
    await refuses(actor, want, "set", order(*items), room)


async def listed(actor, room, what):
    """The items of a list, as what tells them apart: nick or address."""
    got = await actor.ask("get", order(f"<item {what}/>"), room)
    return [dict(i.attrib) for i in got.xml.iter("{" + MUC + "#admin}item")]


async def configure(actor, room, **values):
    """Fills in the form that the room gives."""
    form = await actor["xep_0045"].get_room_config(room)
    fields = form.get_fields()
    for name, value in values.items():
        check(f"muc#roomconfig_{name}" in fields, f"no field {name}")
        fields[f"muc#roomconfig_{name}"]["value"] = value
    form["type"] = "submit"
    await actor["xep_0045"].set_room_config(room, form)


def config(**values):
    """A configuration with these fields only; __ stands for #."""
    fields = ""
    for name, value in values.items():
        name = name.replace("__", "#") if "__" in name else "muc#roomconfig_" + name
        fields += f"<field var='{name}'>" + "".join(f"<value>{v}</value>" for v in (value if isinstance(value, list) else [value])) + "</field>"
    return f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'>{fields}</x></query>"


async def change(actor, room, **values):
    await actor.ask("set", config(**values), room)


async def info(actor, room, node=None):
    """Features of a room, and the fields that describe it."""
    got = await actor.ask("get", f"<query xmlns='{INFO}'" + (f" node='{node}'" if node else "") + "/>", room)
    features = {f.get("var") for f in got.xml.iter("{" + INFO + "}feature")}
    fields = {f.get("var"): f.findtext("{jabber:x:data}value") for f in got.xml.iter("{jabber:x:data}field")}
    names = [i.get("name") for i in got.xml.iter("{" + INFO + "}identity")]
    return features, fields, names


async def company(house, *names, **values):
    """A room with these users in it, each by its name as nick; the first owns it."""
    actors = await cast(house, len(names))
    room = room_of(house)
    equal(codes(own(await walk_in(actors[0], room, names[0]))), [110, 170, 201], "codes for who has made it")
    await change(actors[0], room, **values)
    password = f"<password>{values['roomsecret']}</password>" if "roomsecret" in values else ""
    for a, n in zip(actors[1:], names[1:]):
        await walk_in(a, room, n, password)
    await hush(*actors)
    return room, actors


async def hush(*actors):
    """All that has been sent has come, and is forgotten."""
    for a in actors:
        await a.settle()
    for a in actors:
        await a.settle()
        a.forget()


async def all_hear(actors, body, sender):
    for a in actors:
        m = await a.expect(body, is_message, lambda s: s["body"] == body and s["from"] == sender and s["type"] == "groupchat")
        check(child(m, OCCUPANT_ID) is not None, "no occupant id")
        check(child(m, STANZA_ID).get("by") == sender.split("/")[0], "no stanza id of the room")
