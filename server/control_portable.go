package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"jackdaw/admin"
	"jackdaw/portable"
)

// A piece is a line of the answer to an export or import. That of an export is followed by as many bytes as Data says.
type piece struct {
	Data     int                `json:",omitempty"`
	Progress *portable.Progress `json:",omitempty"`
	Report   *portable.Report   `json:",omitempty"`
	Error    string             `json:",omitempty"`
	Done     bool               `json:",omitempty"`
}

// exporting is what is to be exported: accounts and domains, or all.
type exporting struct{ Only []string }

// A teller writes pieces.
type teller struct {
	out   *json.Encoder
	raw   io.Writer
	flush *http.ResponseController
	shown time.Time
	last  portable.Progress
}

func newTeller(w http.ResponseWriter) *teller {
	return &teller{out: json.NewEncoder(w), raw: w, flush: http.NewResponseController(w), shown: time.Now()}
}

func (t *teller) tell(p piece) error {
	if err := t.out.Encode(p); err != nil {
		return err
	}
	return t.flush.Flush()
}

// progress tells of progress now and then.
func (t *teller) progress(p portable.Progress) {
	t.last = p
	if time.Since(t.shown) > 200*time.Millisecond {
		t.shown = time.Now()
		_ = t.tell(piece{Progress: &p}) // whoever asked may have gone, which the end of the work shows
	}
}

// Write sends data of an export.
func (t *teller) Write(b []byte) (int, error) {
	if err := t.out.Encode(piece{Data: len(b)}); err != nil {
		return 0, err
	}
	return t.raw.Write(b)
}

func (t *teller) end(p piece, err error) {
	p.Progress = &t.last
	if p.Done = err == nil; err != nil {
		p.Error = err.Error()
	}
	_ = t.tell(p) // likewise
}

func (c *Control) export(w http.ResponseWriter, r *http.Request) {
	var in exporting
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t := newTeller(w)
	out := bufio.NewWriterSize(t, pieceSize)
	err := c.Admin.Export(r.Context(), admin.Command, in.Only, out, t.progress)
	if err == nil {
		err = out.Flush()
	}
	t.end(piece{}, err)
}

func (c *Control) importFile(w http.ResponseWriter, r *http.Request) {
	taken(w, r, func(t *teller, dry bool) (*portable.Report, error) {
		return c.Admin.Import(r.Context(), admin.Command, r.Body, dry, t.progress)
	})
}

// importHere is importFile of what is at home at this node.
func (c *Control) importHere(w http.ResponseWriter, r *http.Request) {
	taken(w, r, func(_ *teller, dry bool) (*portable.Report, error) {
		return c.Admin.ImportHere(r.Context(), by(r.Context()), r.Body, dry)
	})
}

// taken answers while a file comes.
func taken(w http.ResponseWriter, r *http.Request, f func(t *teller, dry bool) (*portable.Report, error)) {
	t := newTeller(w)
	if err := t.flush.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := t.tell(piece{Progress: &portable.Progress{}}); err != nil {
		return
	}
	report, err := f(t, r.URL.Query().Has("dry"))
	t.end(piece{Report: report}, err)
	// Whoever sends the file reads the answer before the connection ends.
	_, _ = io.Copy(io.Discard, r.Body)
}

// Export writes accounts in the format of XEP-0227: those of the list, each an account or a domain, or all. progress is
// called now and then.
func (c *Client) Export(ctx context.Context, only []string, out io.Writer, progress func(portable.Progress)) error {
	resp, err := ask(ctx, c, "export", exporting{only})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = pieces(resp.Body, out, progress)
	return err
}

// Import has a file of XEP-0227 stored, one that includes no others; with dry nothing is changed. The report says what
// has come, also beside an error, if it is not nil.
func (c *Client) Import(ctx context.Context, file io.Reader, dry bool, progress func(portable.Progress)) (
	*portable.Report, error) {
	operation := "import"
	if dry {
		operation += "?dry"
	}
	ctx, cancel := context.WithCancel(ctx) // ends the sending
	defer cancel()
	body := &sound{in: file}
	resp, err := c.post(ctx, operation, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	report, err := pieces(resp.Body, io.Discard, progress)
	if bad := body.failed(); err != nil && bad != nil {
		err = bad // it says more than that the file ends
	}
	return report, err
}

// sound is a file that just ends where it cannot be read, so that the server tells what it has done with the rest.
type sound struct {
	in io.Reader

	mu  sync.Mutex // guards err
	err error
}

func (s *sound) Read(b []byte) (int, error) {
	n, err := s.in.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		err = io.EOF
	}
	return n, err
}

func (s *sound) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// pieces reads an answer.
func pieces(in io.Reader, out io.Writer, progress func(portable.Progress)) (*portable.Report, error) {
	r := bufio.NewReaderSize(in, pieceSize)
	for {
		p, err := next[piece](r)
		if err != nil {
			return nil, err
		}
		if p.Progress != nil && progress != nil {
			progress(*p.Progress)
		}
		switch {
		case p.Done:
			return p.Report, nil
		case p.Error != "":
			return p.Report, errors.New(p.Error)
		case p.Data > 0:
			if _, err := io.CopyN(out, r, int64(p.Data)); err != nil {
				return nil, noEOF(err)
			}
		}
	}
}
