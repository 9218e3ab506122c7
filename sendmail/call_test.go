package sendmail

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Command lines of programs that send mail, as they call sendmail.
func TestCallsOfProgramsAreRead(t *testing.T) {
	for line, want := range map[string]Call{
		"-FCronDaemon -odi -oem -oi -t":        {FromHeader: true, Dots: true},                    // vixie cron
		"-FCronDaemon -i -B8BITMIME -oem root": {Recipients: []string{"root"}, Dots: true},        // cronie
		"-t -oem -i":                           {FromHeader: true, Dots: true},                    // busybox crond
		"-t -i":                                {FromHeader: true, Dots: true},                    // PHP
		"-ti":                                  {FromHeader: true, Dots: true},                    // the same
		"-i -f ann@im.example.org -- root bob": {Recipients: []string{"root", "bob"}, Dots: true}, // git send-email
		"-i root":                              {Recipients: []string{"root"}, Dots: true},        // mailx
		"-oi -f root -t":                       {FromHeader: true, Dots: true},                    // mutt
		"-fann -F Ann -bm root":                {Recipients: []string{"root"}},                    //
		"-r ann -oem -oi -N never -V abc -R hdrs x": {Recipients: []string{"x"}, Dots: true}, //
		"-O DeliveryMode=b -h 3 -v -G -m -U -- -x":  {Recipients: []string{"-x"}},            //
		"root -t":                       {Recipients: []string{"root"}, FromHeader: true},        //
		"--spool /s --settings=/f root": {Recipients: []string{"root"}, Spool: "/s", File: "/f"}, //
		"--flush":                       {Flush: true},                                           //
		"--help":                        {Help: true},                                            //
		"-o7 - x":                       {Recipients: []string{"-", "x"}},                        //
	} {
		got, err := ParseCall(strings.Fields(line))
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v\n%s", line, err, cmp.Diff(want, got))
		}
	}
	for line, says := range map[string]string{
		"":            "to whom",
		"-i":          "to whom",
		"-bs":         "no mail server",
		"-bd root":    "no mail server",
		"-bp":         "no mail server",
		"-q":          "--flush",
		"-q30m root":  "--flush",
		"-t -f":       "-f needs a value",
		"-y root":     "-y is not known",
		"-ty":         "-y is not known",
		"--spool":     "--spool needs a value",
		"--nope root": "--nope is not known",
		"--flush=x":   "--flush=x is not known",
	} {
		_, err := ParseCall(strings.Fields(line))
		var f *Failure
		if !errors.As(err, &f) || f.Code != ExitUsage || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", line, err, says)
		}
	}
}
