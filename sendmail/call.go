// Package sendmail is the program that cron, smartd and others call to send mail (sendmail(8)), with a server of ours
// where they expect a mail server: it reads their command line and their mail, and posts the text over HTTP.
//
// It runs wherever they do, without a configuration of the server. What cannot be posted now waits in a directory, if
// there is one.
package sendmail

import (
	"fmt"
	"strings"
)

// Codes with which the program ends (sysexits.h). Callers tell by them whether to try again.
const (
	ExitUsage       = 64
	ExitData        = 65 // the mail, or what the server thinks of it
	ExitNoUser      = 67 // nobody is known by the address
	ExitUnavailable = 69 // it cannot work as it is set up: settings, credentials, permissions
	ExitTemporary   = 75 // later it could
)

// A Failure is an error with a code to end with.
type Failure struct {
	Code int
	Err  error
}

// Error implements error.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap is the error itself.
func (f *Failure) Unwrap() error { return f.Err }

func failure(code int, format string, args ...any) *Failure {
	return &Failure{code, fmt.Errorf(format, args...)}
}

// A Call is a command line as callers of sendmail write it.
type Call struct {
	Recipients []string // arguments
	// FromHeader has the recipients that the mail itself names added (-t).
	FromHeader bool
	// Dots says that a line with a dot alone is text and not the end (-i).
	Dots bool
	// File has settings (--settings), Spool is where to keep what cannot be posted (--spool); "" if they are not given.
	File, Spool string
	// Flush posts what is kept, and no mail (--flush).
	Flush bool
	// Help is asked for (--help).
	Help bool
}

// Letters of options by what they take. What they say of mail servers means nothing here.
const (
	alone  = "GnUmxsv"       // nothing
	valued = "BCFLNOPRVXfhr" // the rest of the word, or else the next one
	joined = "do"            // the rest of the word, which may be empty
)

// ParseCall reads a command line, without the name of the program. Its errors are Failures with ExitUsage.
func ParseCall(args []string) (c Call, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			c.Recipients = append(c.Recipients, args[i+1:]...)
			return c, c.check()
		case strings.HasPrefix(arg, "--"):
			if i, err = c.ours(args, i); err != nil {
				return c, err
			}
		case len(arg) > 1 && arg[0] == '-':
			if i, err = c.letters(args, i); err != nil {
				return c, err
			}
		default:
			c.Recipients = append(c.Recipients, arg)
		}
	}
	return c, c.check()
}

func (c *Call) check() error {
	switch {
	case c.Help, c.Flush, c.FromHeader, len(c.Recipients) > 0:
		return nil
	}
	return failure(ExitUsage, "to whom? Name recipients, or say -t for those in the mail")
}

// ours reads an option of this program at i, and returns where it ends.
func (c *Call) ours(args []string, i int) (int, error) {
	name, value, given := strings.Cut(args[i], "=")
	target := map[string]*string{"--settings": &c.File, "--spool": &c.Spool}[name]
	switch {
	case name == "--flush" && !given:
		c.Flush = true
	case name == "--help" && !given:
		c.Help = true
	case target == nil:
		return i, failure(ExitUsage, "%s is not known here", args[i])
	default:
		if !given {
			if i++; i == len(args) {
				return i, failure(ExitUsage, "%s needs a value", name)
			}
			value = args[i]
		}
		*target = value
	}
	return i, nil
}

// letters reads a word of options of one letter at i, and returns where it ends.
func (c *Call) letters(args []string, i int) (int, error) {
	word := args[i]
	for at := 1; at < len(word); at++ {
		letter, rest := word[at], word[at+1:]
		switch {
		case letter == 't':
			c.FromHeader = true
		case letter == 'i':
			c.Dots = true
		case letter == 'b':
			if rest == "m" { // read a mail and send it: what it does anyway
				return i, nil
			}
			return i, failure(ExitUsage, "-b%s: this only sends mail; it is no mail server and has no queue to show", rest)
		case letter == 'q':
			return i, failure(ExitUsage, "-q: there is no queue of mail; --flush posts what --spool keeps")
		case strings.IndexByte(joined, letter) >= 0:
			c.Dots = c.Dots || letter == 'o' && rest == "i"
			return i, nil
		case strings.IndexByte(valued, letter) >= 0:
			if rest == "" {
				if i++; i == len(args) {
					return i, failure(ExitUsage, "-%c needs a value", letter)
				}
			}
			return i, nil
		case strings.IndexByte(alone, letter) < 0:
			return i, failure(ExitUsage, "-%c is not known here", letter)
		}
	}
	return i, nil
}
