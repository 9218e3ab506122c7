package portable

import (
	"fmt"
	"strings"
	"testing"
)

// head names the tables of a dump as ejabberd 23.01 does.
const head = `{tables,[{passwd,[{record_name,passwd},{attributes,[us,password]}]},
 {roster,[{record_name,roster},{attributes,[usj,us,jid,name,subscription,ask,groups,askmessage,xs]}]},
 {vcard,[{record_name,vcard},{attributes,[us,vcard]}]},
 {private_storage,[{record_name,private_storage},{attributes,[usns,xml]}]},
 {privacy,[{record_name,privacy},{attributes,[us,default,lists]}]},
 {last_activity,[{record_name,last_activity},{attributes,[us,timestamp,status]}]},
 {offline_msg,[{record_name,offline_msg},{attributes,[us,timestamp,expire,from,to,packet]}]},
 {archive_msg,[{record_name,archive_msg},{attributes,[us,id,timestamp,peer,bare_peer,packet,nick,type]}]},
 {archive_prefs,[{record_name,archive_prefs},{attributes,[us,default,always,never]}]},
 {pubsub_node,[{record_name,pubsub_node},{attributes,[nodeid,id,parents,type,owners,options]}]},
 {pubsub_state,[{record_name,pubsub_state},{attributes,[stateid,nodeidx,items,affiliation,subscriptions]}]},
 {pubsub_item,[{record_name,pubsub_item},{attributes,[itemid,nodeidx,creation,modification,payload]}]},
 {muc_room,[{record_name,muc_room},{attributes,[name_host,opts]}]},
 {sr_group,[{record_name,sr_group},{attributes,[group_host,opts]}]},{caps_features,[]}]}.
`

const romeo = `{<<"romeo">>,<<"b.example">>}`

// dumped is what of a dump comes behind the elements around it: that of one user, or of the host.
func dumped(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	if err := Ejabberd(strings.NewReader(head+text), &b, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := rewritten(b.String()); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	s := strings.TrimPrefix(b.String(), "<server-data xmlns='urn:xmpp:pie:0'><host jid='b.example'>")
	return strings.TrimSuffix(s, "</server-data>")
}

func TestADumpOfEjabberdBecomesAnExport(t *testing.T) {
	user := func(in string) string { return "<user name='romeo'>" + in + "</user></host>" }
	password := "{passwd," + romeo + ",<<\"a&b\">>}."
	of := func(in string) string { return "<user name='romeo' password='a&amp;b'>" + in + "</user></host>" }
	message := `{xmlel,<<"message">>,[{<<"xmlns">>,<<"jabber:client">>},{<<"from">>,<<"j@b/x">>}],[{xmlel,<<"body">>,[],[{xmlcdata,<<"hi">>}]}]}`
	for name, c := range map[string]struct{ dump, want string }{
		"a password": {password, "<user name='romeo' password='a&amp;b'/></host>"},
		"keys of SHA-256": {"{passwd," + romeo + `,{scram,<<"c3Q=">>,<<"c3Y=">>,<<"c2E=">>,sha256,4096}}.`,
			user("<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='SCRAM-SHA-256'><iter-count>4096</iter-count>" +
				"<salt>c2E=</salt><server-key>c3Y=</server-key><stored-key>c3Q=</stored-key></scram-credentials>")},
		"keys of older versions, and a password of newer ones": {`{passwd,{<<"romeo">>,<<"b.example">>,plain},<<"p">>}.
			{passwd,{<<"romeo">>,<<"b.example">>,sha},{scram,<<"c3Q=">>,<<"c3Y=">>,<<"c2E=">>,4096}}.`,
			"<user name='romeo' password='p'><scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='SCRAM-SHA-1'>" +
				"<iter-count>4096</iter-count><salt>c2E=</salt><server-key>c3Y=</server-key><stored-key>c3Q=</stored-key>" +
				"</scram-credentials></user></host>"},
		"contacts and requests": {password + `{roster,x,` + romeo + `,{<<"j">>,<<"b">>,<<>>},<<"J">>,to,both,[<<"g">>],<<"please">>,[]}.
			{roster,x,` + romeo + `,{<<"n">>,<<"b">>,<<>>},<<>>,none,in,[],<<>>,[]}.`,
			of("<query xmlns='jabber:iq:roster'><item xmlns='jabber:iq:roster' jid='j@b' name='J' subscription='to' ask='subscribe'>" +
				"<group>g</group></item></query><presence xmlns='jabber:client' from='j@b' type='subscribe'><status>please</status></presence>" +
				"<presence xmlns='jabber:client' from='n@b' type='subscribe'/>")},
		"names with prefixes": {password + `{private_storage,{<<"romeo">>,<<"b.example">>,<<"u">>},{xmlel,<<"p:x">>,[{<<"xmlns:p">>,<<"u">>},
			{<<"p:a">>,<<"1">>},{<<"q:b">>,<<"2">>},{<<"xml:lang">>,<<"en">>}],[{xmlel,<<"q:y">>,[],[]},{xmlel,<<"p:z">>,[],[]}]}}.`,
			of("<query xmlns='jabber:iq:private'><x xmlns='u' xmlns:ns0='u' ns0:a='1' xml:lang='en'><z/></x></query>")},
		"a privacy list": {password + `{privacy,` + romeo + `,none,[{<<"l">>,[{listitem,jid,{<<>>,<<"t">>,<<>>},deny,1,false,true,true,false,false},
			{listitem,none,none,allow,2,true,false,false,false,false}]}]}.`,
			of("<query xmlns='jabber:iq:privacy'><list name='l'><item action='deny' order='1' type='jid' value='t'><iq/><message/></item>" +
				"<item action='allow' order='2'/></list></query>")},
		"messages that wait, those that do no more not": {password + `{offline_msg,` + romeo + `,{1700,2,3},never,{jid,<<"j">>,<<"b">>,<<"y">>,<<"j">>,<<"b">>,
			<<"y">>},` + romeo + "," + message + `}.{offline_msg,` + romeo + `,{1700,1,3},{1700,2,3},x,y,` + message + "}.",
			of("<offline-messages><message xmlns='jabber:client' from='j@b/x' to='romeo@b.example'><body>hi</body>" +
				"<delay xmlns='urn:xmpp:delay' from='b.example' stamp='2023-11-14T22:13:22.000003Z'/></message></offline-messages>")},
		"an archive, in the order of time": {password + `{archive_msg,` + romeo + `,<<"2">>,{1700,2,0},{<<"j">>,<<"b">>,<<>>},x,` + message + `,<<>>,chat}.
			{archive_msg,` + romeo + `,<<"1">>,{1700,1,0},{<<"j">>,<<"b">>,<<>>},x,` + message + `,<<>>,chat}.
			{archive_prefs,` + romeo + `,roster,[{<<"j">>,<<"b">>,<<>>}],[]}.`,
			of("<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>j@b</jid></always><never/></prefs><archive xmlns='urn:xmpp:pie:0#mam'>" +
				"<result xmlns='urn:xmpp:mam:2' id='1'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:21.000000Z'/>" +
				"<message xmlns='jabber:client' from='j@b/x'><body>hi</body></message></forwarded></result>" +
				"<result xmlns='urn:xmpp:mam:2' id='2'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:22.000000Z'/>" +
				"<message xmlns='jabber:client' from='j@b/x'><body>hi</body></message></forwarded></result></archive>")},
		"a node, which comes behind its items": {`{pubsub_item,{<<"i">>,7},7,{{1700,1,0},` + romeo + `},{{1700,2,0},` + romeo + `},[{xmlel,<<"p">>,[{<<"xmlns">>,<<"u">>}],[]}]}.
			{pubsub_state,{{<<"j">>,<<"b">>,<<"r">>},7},7,[],member,[{subscribed,<<"s">>}]}.
			{pubsub_node,{{<<"romeo">>,<<"b.example">>,<<>>},<<"u">>},7,[],<<"pep">>,[],[{access_model,roster},{max_items,infinity},
			{persist_items,true},{roster_groups_allowed,[<<"g">>,<<"h">>]},{title,<<>>}]}.` + password,
			of("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure xmlns='http://jabber.org/protocol/pubsub#owner' node='u'>" +
				"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field>" +
				"<field var='pubsub#access_model'><value>roster</value></field><field var='pubsub#max_items'><value>max</value></field>" +
				"<field var='pubsub#persist_items'><value>1</value></field><field var='pubsub#roster_groups_allowed'><value>g</value><value>h</value></field>" +
				"</x></configure></pubsub><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><affiliations node='u'>" +
				"<affiliation xmlns='http://jabber.org/protocol/pubsub#owner' jid='j@b' affiliation='member'/></affiliations></pubsub>" +
				"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><subscriptions node='u'><subscription xmlns='http://jabber.org/protocol/pubsub#owner'" +
				" jid='j@b/r' subscription='subscribed'/></subscriptions></pubsub><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='u'>" +
				"<item xmlns='http://jabber.org/protocol/pubsub' id='i' publisher='romeo@b.example' xmlns:ns2='urn:x-jackdaw:portable:0' ns2:at='1700000002000000'>" +
				"<p xmlns='u'/></item></items></pubsub>")},
		"a room with its archive": {password + `{archive_msg,{<<"r">>,<<"c.b.example">>},<<"1">>,{1700,1,0},{<<"j">>,<<"b">>,<<"x">>},y,` + message + `,<<"Jule">>,groupchat}.
			{muc_room,{<<"r">>,<<"c.b.example">>},[{persistent,true},{title,<<"R">>},{anonymous,false},{password,<<"old">>},
			{moderated,true},{members_by_default,true},{allow_private_messages,false},{subscribers,[{x}]},
			{affiliations,[{{<<"j">>,<<"b">>,<<>>},{owner,<<>>}},{{<<>>,<<"bad">>,<<>>},{outcast,<<"why">>}}]},{subject,[{text,<<>>,<<"S">>}]},
			{subject_author,<<"Jule">>}]}.{muc_room,{<<"gone">>,<<"c.b.example">>},[{persistent,false}]}.`,
			"<user name='romeo' password='a&amp;b'/><room xmlns='urn:x-jackdaw:portable:0' jid='r@c.b.example' creator='j@b'><x xmlns='jabber:x:data' type='submit'>" +
				"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var='muc#roomconfig_allowpm'><value>none</value></field>" +
				"<field var='muc#roomconfig_moderatedroom'><value>0</value></field><field var='muc#roomconfig_roomname'><value>R</value></field>" +
				"<field var='muc#roomconfig_whois'><value>anyone</value></field></x><subject changed='1970-01-01T00:00:01.000Z' by='Jule'>" +
				"<message xmlns='jabber:client'><subject>S</subject></message></subject><person jid='j@b' affiliation='owner'/>" +
				"<person jid='bad' affiliation='outcast' reason='why'/></room><room-archive xmlns='urn:x-jackdaw:portable:0' jid='r@c.b.example'>" +
				"<archive xmlns='urn:xmpp:pie:0#mam'><result xmlns='urn:xmpp:mam:2' id='1' xmlns:ns1='urn:x-jackdaw:portable:0' ns1:author='j@b/x'>" +
				"<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:21.000000Z'/>" +
				"<message xmlns='jabber:client' from='r@c.b.example/Jule'><body>hi</body></message></forwarded></result></archive></room-archive></host>" +
				"<lost xmlns='urn:x-jackdaw:portable:0' what='rooms' why='who has subscribed to a room without being in it' where='r@c.b.example' times='1'/>"},
		"what cannot come is said": {password + `{sr_group,x,y}.{sr_group,x,z}.{caps_features,x,y}.{vcard,{<<"gone">>,<<"b.example">>},
			{xmlel,<<"vCard">>,[{<<"xmlns">>,<<"vcard-temp">>}],[]}}.{pubsub_node,{<<"pubsub.b.example">>,<<"n">>},1,[],<<"flat">>,[],[]}.`,
			"<user name='romeo' password='a&amp;b'/></host>" +
				"<lost xmlns='urn:x-jackdaw:portable:0' what='tables' why='nothing here reads the table sr_group' where='sr_group' times='2'/>" +
				"<lost xmlns='urn:x-jackdaw:portable:0' what='nodes' why='nodes of a service, which are in nobody&apos;s account' where='pubsub.b.example' times='1'/>" +
				"<lost xmlns='urn:x-jackdaw:portable:0' what='accounts' why='what is left of an account that is not there' where='gone@b.example' times='1'/>"},
	} {
		if got := dumped(t, c.dump); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestWhatIsNoDumpOfEjabberdIsRefused(t *testing.T) {
	var many strings.Builder
	for i := range maxHosts + 1 {
		fmt.Fprintf(&many, "{passwd,{a,h%d},b}.\n", i)
	}
	for text, want := range map[string]string{
		"":                        "there are no accounts",
		"{passwd,a,b}.":           "line 1: this is not what ejabberdctl dump writes: a row of no table that the file has named",
		head + many.String():      "accounts of more than 10000 domains",
		head + "[a].":             "a row of no table",
		head + "{passwd," + romeo: "the file ends in the middle: it was cut off",
		"{tables,[" + strings.Repeat("{t,[]},", maxTables+1) + "{t,[]}]}.": "",
	} {
		err := Ejabberd(strings.NewReader(text), &strings.Builder{}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func FuzzWhatEjabberdDumpsBecomesXML(f *testing.F) {
	f.Add("{passwd," + romeo + ",<<\"p\">>}.\n{vcard," + romeo + ",{xmlel,<<\"vCard\">>,[{<<\"xmlns\">>,<<\"vcard-temp\">>}],[{xmlcdata,<<\"x\">>}]}}.")
	f.Add("{roster,x," + romeo + ",{<<\"j\">>,<<\"b\">>,<<>>},<<\"J\">>,to,both,[<<\"g\">>],<<\"please\">>,[]}.")
	f.Add("{pubsub_item,{<<\"i\">>,7},7,{{1,1,0}," + romeo + "},{{1,2,0}," + romeo + "},[{xmlel,<<\"p\">>,[],[]}]}.\n{pubsub_node,{" + romeo +
		",<<\"u\">>},7,[],<<\"pep\">>,[],[{access_model,roster}]}.\n{pubsub_state,{" + romeo + ",7},7,[],owner,[{subscribed,x}]}.")
	f.Add("{archive_msg," + romeo + ",<<\"2\">>,{1,2,0},{<<\"j\">>,<<\"b\">>,<<>>},x,{xmlel,<<\"message\">>,[],[]},<<>>,groupchat}.\n" +
		"{muc_room," + romeo + ",[{persistent,true},{affiliations,[{{<<>>,<<\"b\">>,<<>>},owner}]},{subject,<<\"s\">>}]}.")
	f.Add("{privacy," + romeo + ",<<\"l\">>,[{<<\"l\">>,[{listitem,jid," + romeo + ",deny,1,false,true,true,false,false}]}]}.\n{last_activity," + romeo + ",5,<<>>}.")
	f.Fuzz(func(t *testing.T, rows string) {
		var b strings.Builder
		if err := Ejabberd(strings.NewReader(head+rows), &b, nil); err != nil {
			return
		}
		if _, err := rewritten(b.String()); err != nil {
			t.Fatalf("%v in %s", err, b.String())
		}
	})
}
