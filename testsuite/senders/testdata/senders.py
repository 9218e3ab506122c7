"""Programs and libraries that people have, posting to the hooks of a server: Apprise with each of its plugins that reaches
us, and clients of ntfy and Gotify. Each line of its output names what comes now, or what a message must look like."""

import json
import os
import socket
import sys
import tempfile

import apprise
import gotify
import ntfpy
import ntfy_api
import python_ntfy

told = json.loads(sys.argv[1])
host, tokens = told["http"], told["tokens"]
base = "http://" + host

# A name of the server that is ntfy's alone: nobody resolves it in tests.
lookup = socket.getaddrinfo
socket.getaddrinfo = lambda name, *rest, **kw: lookup(host.split(":")[0] if name == told["ntfy"] else name, *rest, **kw)


def expect(text):
    print(json.dumps({"want": text}), flush=True)


def expect_file(content):
    """A message that is the address of a file, from where it can be fetched."""
    print(json.dumps({"want": content, "file": True}), flush=True)


def with_file(name, content):
    path = os.path.join(tempfile.mkdtemp(dir=told["dir"]), name)
    with open(path, "w") as f:
        f.write(content)
    return path


def notify(url, want, title="Backup", body="It is *done*.", **kw):
    a = apprise.Apprise()
    assert a.add(url), "apprise does not take " + url.split("?")[0]
    assert a.notify(title=title, body=body, **kw), "apprise failed: " + url.split("/")[0]
    expect(want)


def apprise_json():
    url = f"json://{host}/hooks/{tokens['any']}/apprise"
    notify(url, "Backup\nIt is *done*.")
    notify(url, "🔥 Backup\nIt failed.", body="It failed.", notify_type=apprise.NotifyType.FAILURE)
    notify(url, "✅ RESOLVED · Backup\nIt works.", body="It works.", notify_type=apprise.NotifyType.SUCCESS)
    notify(url, "Backup\nIt is *done*.", attach=with_file("log.txt", "all is well"))
    expect_file("all is well")
    # Found out, and with the token in a header and in a password.
    notify(f"json://{host}/hooks/{tokens['any']}", "Backup\nIt is *done*.")
    notify(f"json://{host}/hooks/apprise?+Authorization=Bearer%20{tokens['any']}", "Backup\nIt is *done*.")
    notify(f"json://backup:{tokens['any']}@{host}/hooks/apprise", "Backup\nIt is *done*.")
    # Keys by other names.
    notify(f"json://{host}/hooks/{tokens['renamed']}?:message=text&:title=subject", "⚠ Backup\nIt is *done*.",
           notify_type=apprise.NotifyType.WARNING)


def apprise_form():
    url = f"form://{host}/hooks/{tokens['any']}/apprise"
    notify(url, "Backup\nIt is *done*.")
    notify(url, "Backup\nIt is *done*.", attach=with_file("log.txt", "all is well"))
    expect_file("all is well")


def apprise_gotify():
    notify(f"gotify://{host}/gotify/{tokens['any']}", "ℹ Backup\nIt is *done*.")
    notify(f"gotify://{host}/gotify/{tokens['any']}?priority=high&format=markdown", "🔥 Backup\nIt is *done*.",
           body="It is **done**.")
    # At the root: told from a post by its token.
    notify(f"gotify://{host}/{tokens['any']}", "ℹ Backup\nIt is *done*.")


def apprise_ntfy():
    # It has no place for a path, so it needs a host of its own.
    port = host.split(":")[1]
    notify(f"ntfy://{tokens['ops']}@{told['ntfy']}:{port}/ops?auth=token&mode=private&xtags=tada,db1&priority=high",
           "⚠ 🎉 Backup\nIt is *done*.\nTags: db1")


def apprise_mattermost():
    notify(f"mmost://{host}/{tokens['mattermost']}?image=no", "Apprise: Backup\nIt is _done_.")


def apprise_rocketchat():
    first, second = tokens["rocketchat"][:15], tokens["rocketchat"][15:]
    notify(f"rocket://{first}/{second}@{host}/?avatar=no", "Backup\nIt is *done*.")


def gotify_client():
    client = gotify.Gotify(base_url=base + "/gotify", app_token=tokens["any"], client_token="any")
    said = client.create_message("5 GB left", title="Disk", priority=8)
    assert said["message"] == "5 GB left" and said["title"] == "Disk" and said["priority"] == 8 and said["id"] > 0, said
    expect("🔥 Disk\n5 GB left")
    said = client.create_message("**5** GB left", extras={"client::display": {"contentType": "text/markdown"},
                                                          "client::notification": {"click": {"url": "https://x.example"}}})
    assert said["title"] == "any", said
    expect("*5* GB left\nhttps://x.example")
    try:
        client.create_message("")
        raise AssertionError("a message without a text was taken")
    except gotify.GotifyError as e:
        assert "message" in str(e), e
    assert client.get_health()["health"] == "green" and client.get_version()["version"]


def python_ntfy_client():
    client = python_ntfy.NtfyClient(topic="ops", server=base + "/ntfy", auth=tokens["ops"])
    said = client.send("5 GB left", title="Disk at 95 %", priority=client.MessagePriority.HIGH, tags=["floppy_disk", "db1"],
                       actions=[client.ViewAction(label="Graph", url="https://g.example")])
    assert said["event"] == "message" and said["topic"] == "ops" and said["title"] == "Disk at 95 %", said
    assert said["priority"] == 4 and said["tags"] == ["floppy_disk", "db1"] and said["time"] > 0, said
    expect("⚠ 💾 Disk at 95 %\n5 GB left\nTags: db1\nGraph: https://g.example")
    client.send("**5** GB left", format_as_markdown=True)
    expect("*5* GB left")
    said = client.send_file(with_file("df.txt", "/var 97 %"), title="Disks")
    assert said["attachment"]["name"] == "df.txt" and said["attachment"]["size"] == 9, said
    expect("Disks\nYou received a file: df.txt")
    expect_file("/var 97 %")


def ntfpy_client():
    answer = ntfpy.raw_send(base + "/ntfy", "ops", "5 GB left", auth="anybody:" + tokens["ops"], title="Disk", tags=["rocket"])
    assert answer.status_code == 200 and answer.json()["message"] == "5 GB left", answer.text
    expect("🚀 Disk\n5 GB left")


def ntfy_api_client():
    publisher = ntfy_api.NtfyPublisher(base + "/ntfy", bearer=tokens["ops"])
    answer = publisher.publish(ntfy_api.Message(topic="ops", message="5 GB left", priority=5, tags=["warning"],
                                                title="=?UTF-8?B?R3LDtsOfZQ==?=", click="https://x.example"))
    assert answer.status_code == 200 and answer.json()["title"] == "Größe", answer.text
    expect("🔥 Größe\n5 GB left\nhttps://x.example")
    answer = publisher.publish(ntfy_api.Message(topic="ops", message="later", delay="30m"))
    assert answer.status_code == 400 and answer.json()["code"] == 40004, answer.text


for step in [apprise_json, apprise_form, apprise_gotify, apprise_ntfy, apprise_mattermost, apprise_rocketchat, gotify_client,
             python_ntfy_client, ntfpy_client, ntfy_api_client]:
    print(json.dumps({"step": step.__name__}), flush=True)
    step()
