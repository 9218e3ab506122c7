// xmpp.js as its users have it: it logs in, says something to a contact and waits for the answer; then once more, by what the
// server gave it for that. The arguments are a service, a domain, a user, a password and the contact; what it did is printed
// as JSON.
import {webcrypto} from 'node:crypto'
import {client, xml} from '@xmpp/client'
import WebSocket from 'ws'

globalThis.crypto ??= webcrypto
globalThis.WebSocket ??= WebSocket
const [service, domain, username, password, contact] = process.argv.slice(2)
const userAgent = xml('user-agent', {id: 'd4565fa7-4d72-4749-b3d3-740edbf87770'},
	xml('software', {}, 'xmpp.js'), xml('device', {}, 'a test'))

async function visit(token, word) {
	const told = {sent: [], heard: []}
	const xmpp = client({service, domain, userAgent, timeout: 20000, // it gives up after two seconds otherwise
		credentials: {username, password, token}})
	let saved
	xmpp.fast.saveToken = async (t) => { saved = t }
	xmpp.on('error', (e) => { told.error = String(e) })
	xmpp.on('send', (e) => told.sent.push(e.name + (e.attrs.mechanism ? ' ' + e.attrs.mechanism : '')))
	xmpp.on('element', (e) => told.heard.push(e.name + (e.getNS() === 'urn:xmpp:sasl:2' ? ' of SASL2' : '')))
	const answered = new Promise((resolve) => xmpp.on('stanza', (s) => {
		if (s.is('message') && s.getChildText('body')) resolve(s.getChildText('body'))
	}))
	told.jid = String(await xmpp.start())
	await xmpp.send(xml('presence'))
	await xmpp.send(xml('message', {type: 'chat', to: contact}, xml('body', {}, word)))
	told.answer = await answered
	await xmpp.stop()
	told.token = saved?.mechanism
	return [told, saved]
}

const [first, token] = await visit(undefined, 'from xmpp.js')
const [second] = await visit(token, 'from xmpp.js again')
console.log(JSON.stringify([first, second]))
