// Package notice turns what programs send to a hook into a notice, draws the notice as the text of a message, and says
// what each program wants to be answered. All of it is pure: bytes in, bytes out. Who may post, to whom it goes, and
// what becomes of it, is the business of package hooks.
//
// A face is what one family of programs speaks; each has a file of its own.
package notice

import "time"

// Level is how much a notice matters.
type Level int8

// Levels, from the least; a notice without one is Info.
const (
	Debug    Level = iota - 1
	Info           // of no urgency
	Notable        // worth a look
	Warning        // could become an error
	Error          // something does not work
	Critical       // somebody has to act now
)

// State says whether something has begun or has ended.
type State uint8

// States; most notices have none.
const (
	Stateless State = iota
	Firing
	Resolved
)

// A Notice is what all faces have in common. Texts are plain, with the styling of XEP-0393; they may be long and of
// several lines, and Draw bounds them.
type Notice struct {
	Title string
	Text  string
	Level Level
	State State
	Count int    // how many things it is about; 0 and 1 are not shown
	Unit  string // what each line of Text is about, in plural, such as alerts; "": a line is a line
	Link  string // the one that matters most
	Links []Link
	Time  time.Time // zero: now
	// Source is what it comes from, such as the name of a repository or a host; "" is unknown.
	Source string
	// Key says what belongs together: notices with the same key of one hook are a thread, and what has Resolved is a
	// reply to what was Firing. "" is by itself.
	Key string
	// IfFiring: it is worth a message only where the last notice with its Key was Firing, such as a build that succeeds:
	// it is shown after one that failed. Else the request is fine and ignored.
	IfFiring bool
	// Dedupe says what must not be sent twice within DedupeFor (0: a day); "" is always new.
	Dedupe    string
	DedupeFor time.Duration
	// To and Nick are what the sender asks for: a hook may follow them, and need not.
	To, Nick    string
	Attachments []Attachment
}

// A Link is shown on a line of its own.
type Link struct {
	Label string // may be ""
	URL   string
}

// An Attachment is a file: where it is, or what is in it.
type Attachment struct {
	Name string
	Type string // of its media; "" is unknown
	URL  string
	Data []byte // without a URL
}
