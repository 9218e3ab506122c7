"""What the scenes of eventing share: actors whose capabilities say what they want, requests to nodes, and matches for
events."""

from scene import Failed, XMPPError, child, is_message, presence

NS = "http://jabber.org/protocol/pubsub"
EVENT = "{http://jabber.org/protocol/pubsub#event}"
PUBSUB = "{http://jabber.org/protocol/pubsub}"
OWNER = "{http://jabber.org/protocol/pubsub#owner}"
ERRORS = "{http://jabber.org/protocol/pubsub#errors}"
DATA = "{jabber:x:data}"
READY = "urn:example:ready"
TUNE = "http://jabber.org/protocol/tune"
STRANGER = "auth not-authorized presence-subscription-required"
CLOSED = "cancel not-allowed closed-node"


# Actors that stay from scene to scene of a script: logins are what scenes cost.
USERS, CAST = {}, {}


async def people(house, *names):
    """The addresses of the script's users of these names, which are made when they are needed first."""
    missing = [n for n in names if n not in USERS]
    if missing:
        made = await house.users(*missing)
        USERS.update(zip(missing, made if len(missing) > 1 else [made]))
    return [USERS[n] for n in names]


async def cast(house, user, resource, wants=(), plugins=()):
    """The script's actor with this address, which logs in when it is needed first."""
    address = f"{user}/{resource}"
    if address not in CAST:
        CAST[address] = await client(house, user, resource, wants, plugins)
        house.actors.remove(CAST[address])
    return CAST[address]


async def begin(desk):
    """Begins another scene: the owner has no nodes, and nobody anything that came before."""
    answer = await desk.ask("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", desk.boundjid.bare)
    for node in {i.get("node") for i in answer.xml.iter("{http://jabber.org/protocol/disco#items}item")} - {None}:
        await desk.ask("set", owner(f"<delete node='{node}'/>"))
    for a in CAST.values():
        await a.caught_up(desk)
        a.forget()


async def client(house, user, resource="desk", wants=(), plugins=()):
    """An actor that is available, and whose capabilities say what it wants."""
    a = await house.login(user, resource, presence=None, plugins=["xep_0060", "xep_0115", "xep_0163", *plugins])
    await appear(a, wants)
    return a


async def appear(a, wants=()):
    """Shows presence, and comes back when the server knows what the client wants."""
    wants = [*wants, READY] if wants else []
    for node in wants:
        a["xep_0030"].add_feature(node + "+notify")
    await a["xep_0115"].update_caps(a.boundjid, broadcast=False)
    a.show_presence()
    await a.expect("its presence", presence(a.boundjid.full))
    if wants:
        # It is an event if the server knows already, and the last item that it sends once it does if not.
        await publish(a, READY, a.boundjid.resource, f"<ready xmlns='{READY}'/>")
        await a.expect("an event of its own", event(READY, a.boundjid.resource))


# Requests.

def entity(inner):
    """A request of anybody's."""
    return f"<pubsub xmlns='{NS}'>{inner}</pubsub>"


def owner(inner):
    """A request of an owner's."""
    return f"<pubsub xmlns='{NS}#owner'>{inner}</pubsub>"


def form(kind, fields, how="submit"):
    """A form; a list is a field with several values."""
    inner = ""
    for k, v in fields.items():
        inner += f"<field var='pubsub#{k}'>" + "".join(f"<value>{one}</value>" for one in (v if isinstance(v, list) else [v])) + "</field>"
    return (f"<x xmlns='jabber:x:data' type='{how}'><field var='FORM_TYPE' type='hidden'><value>{NS}#{kind}</value></field>{inner}</x>")


def options(**fields):
    """Options of a publication."""
    return f"<publish-options>{form('publish-options', fields)}</publish-options>" if fields else ""


def config(**fields):
    return f"<configure>{form('node_config', fields)}</configure>" if fields else ""


def thing(text=""):
    """A payload."""
    return f"<t xmlns='urn:t'>{text}</t>"


PRIVATE = dict(persist_items="true", max_items="max", send_last_published_item="never", access_model="whitelist")


async def publish(a, node, item, xml, to=None, **fields):
    at = f" id='{item}'" if item else ""
    return await a.ask("set", entity(f"<publish node='{node}'><item{at}>{xml}</item></publish>" + options(**fields)), to)


async def create(a, node, **fields):
    return await a.ask("set", entity(f"<create node='{node}'/>" + config(**fields)))


async def configure(a, node, **fields):
    return await a.ask("set", owner(f"<configure node='{node}'>{form('node_config', fields)}</configure>"))


async def retract(a, node, *ids, more=" notify='true'"):
    inner = "".join(f"<item id='{i}'/>" for i in ids)
    return await a.ask("set", entity(f"<retract node='{node}'{more}>{inner}</retract>"))


async def subscribe(a, node, of, jid=None):
    """What the service says of the subscription."""
    answer = await a.ask("set", entity(f"<subscribe node='{node}' jid='{jid or a.boundjid.bare}'/>"), of)
    return answer.xml.find(f"{PUBSUB}pubsub/{PUBSUB}subscription").get("subscription")


async def affiliate(a, node, **whom):
    """Sets affiliations of addresses, which are written as keys by their resource-free name."""
    inner = "".join(f"<affiliation jid='{j}' affiliation='{s}'/>" for j, s in whom.items())
    return await a.ask("set", owner(f"<affiliations node='{node}'>{inner}</affiliations>"))


async def items(a, node, of=None, inner="", more="", rsm=""):
    """The items of a node, as {id: payload}."""
    answer = await a.ask("get", entity(f"<items node='{node}'{more}>{inner}</items>{rsm}"), of)
    return {i.get("id"): i[0] for i in answer.xml.findall(f"{PUBSUB}pubsub/{PUBSUB}items/{PUBSUB}item")}


async def texts(a, node, of=None, **how):
    return {k: v.text or "" for k, v in (await items(a, node, of, **how)).items()}


def fields(xml):
    """The values of a form in an answer, without the prefix of their names."""
    out = {}
    for f in xml.iter(DATA + "field"):
        values = [v.text or "" for v in f.findall(DATA + "value")]
        if f.get("var") != "FORM_TYPE":
            out[f.get("var").removeprefix("pubsub#")] = values[0] if len(values) == 1 else values
    return out


async def outcome(a, kind, payload, to=None):
    """ok, or the error: type, condition, pubsub's condition, feature."""
    try:
        await a.ask(kind, payload, to)
        return "ok"
    except XMPPError as e:
        error = e.iq.xml.find("{jabber:client}error")
        words = [error.get("type"), e.condition]
        for c in error:
            if c.tag.startswith(ERRORS):
                words += [c.tag.removeprefix(ERRORS)] + ([c.get("feature")] if c.get("feature") else [])
        return " ".join(words)


async def refuse(rows):
    """Each row is (section, actor, kind, payload, to, want). All that do not end as they should are told together."""
    wrong = []
    for section, a, kind, payload, to, want in rows:
        got = await outcome(a, kind, payload, to)
        if got != want:
            wrong.append(f"§{section}: {payload[:200]} to {to}: {got}, want {want}")
    if wrong:
        raise Failed("\n  ".join(["requests end otherwise:", *wrong]))


# What comes.

def event(node, item=None, what="item"):
    """An event of a node: of an item with this id, or of its retraction."""
    def match(s):
        found = s.xml.find(f"{EVENT}event/{EVENT}items") if is_message(s) else None
        return (found is not None and found.get("node") == node
                and (item is None or any(i.get("id") == item for i in found.findall(EVENT + what))))
    return match


def news(node, what):
    """An event that tells something of a node: delete, purge, configuration, subscription."""
    def match(s):
        found = s.xml.find(f"{EVENT}event/{EVENT}{what}") if is_message(s) else None
        return found is not None and found.get("node") == node
    return match


def payload(s):
    return s.xml.find(f"{EVENT}event/{EVENT}items/{EVENT}item")[0]


def told(s, what):
    return s.xml.find(f"{EVENT}event/{EVENT}{what}")


def is_last(s):
    """Whether an event is that of an item published before."""
    return child(s, "{urn:xmpp:delay}delay") is not None
