package notice

import (
	"net/http"
	"testing"
)

var textSamples = []sample{
	{name: "plain", media: "text/plain", body: "disk\nis full\n", want: "disk\nis full"},
	{name: "of no type", media: "-", body: "disk is full", want: "disk is full"},
	{name: "what curl calls a form", media: typeForm, body: "Filesystem  Use%\n/dev/sda1  97%;a=b&c", want: "Filesystem  Use%\n/dev/sda1  97%;a=b&c"},
	{name: "a form", media: typeForm, body: "title=Disk&text=5+GB+left%21", want: "Disk\n5 GB left!"},
	{name: "a multipart form", media: typeMultipart, body: form("subject", "Disk", "body", "5 GB left"), want: "Disk\n5 GB left"},
	{name: "a title alone", media: typeMultipart, body: form("title", "Disk"), want: "Disk"},
	{name: "nothing", media: "text/plain", body: " \n", want: "there is no text"},
	{name: "an empty form", media: typeMultipart, body: form("x", "y"), want: "there is no text"},
}

func TestTexts(t *testing.T) { drawings(t, &text, textSamples) }

func FuzzText(f *testing.F) { fuzzFace(f, &text, textSamples) }

func TestTextsThatAreNone(t *testing.T) {
	for _, s := range []sample{{media: typeForm, body: `payload={"a":1}`}, {media: typeForm, body: `payload={`}, {media: typeForm, body: `{"a":`},
		{body: `{"a":1}`}, {media: "image/png", body: "PNG"}, {media: "-"}} {
		if f, err := Guess(s.request([]byte(s.body))); err == nil {
			t.Errorf("%q of %q is guessed as %s", s.body, s.media, f.Name)
		}
	}
}

func TestFilesBesideAText(t *testing.T) {
	s := sample{media: typeMultipart}
	reading, err := text.Read(s.request([]byte("--frontier\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.log\"\r\n\r\nlog\r\n" + form("text", "see"))))
	if err != nil || len(reading.Notices) != 1 || reading.Notices[0].Text != "see" || len(reading.Notices[0].Attachments) != 1 {
		t.Errorf("read %+v, %v", reading, err)
	}
	if r := AnswerJSON(&Outcome{Status: http.StatusOK, Reading: &reading}); r.Status != http.StatusOK {
		t.Errorf("answered %+v", r)
	}
}
