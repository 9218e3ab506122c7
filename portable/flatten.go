package portable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"jackdaw/xmpp"
)

// includeName is that of XInclude (§5), which splits an export into files.
var includeName = xmpp.Name{Space: "http://www.w3.org/2001/XInclude", Local: "include"}

// maxIncludes is how deep files may include others: the server, its hosts, their users.
const maxIncludes = 4

// flattener makes one file of several.
type flattener struct {
	dir fs.FS
	out *writer
	// read, if not nil, is told of each file how many bytes of it have been read.
	read func(bytes int64)
}

// Flatten writes the file of the given name in dir, with all that it includes, as one that includes nothing. What other
// servers write in ways of their own becomes what XEP-0227 says. read, if not nil, is called with the bytes that were
// read since it was called last.
func Flatten(dir fs.FS, name string, out io.Writer, read func(bytes int64)) error {
	f := &flattener{dir: dir, out: newWriter(out), read: read}
	if err := f.file(name, 0, 0); err != nil {
		return err
	}
	f.out.raw([]byte{'\n'})
	return f.out.flush()
}

// file writes the root element of a file, which is an element at the given depth of the whole.
func (f *flattener) file(name string, depth, files int) (err error) {
	in, err := f.dir.Open(name)
	if err != nil {
		return fmt.Errorf("include %s: %w", name, err)
	}
	defer in.Close() // it was only read
	if err := f.stream(name, newScanner(&counted{in, f.read}), depth, files); err != nil {
		if _, ok := errors.AsType[*syntaxError](err); ok {
			return fmt.Errorf("%s: %w", name, err)
		}
		return err
	}
	return nil
}

type counted struct {
	in   io.Reader
	read func(int64)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	if c.read != nil {
		c.read(int64(n))
	}
	return n, err
}

func (f *flattener) stream(name string, s *scanner, depth, files int) error {
	for {
		t, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		at := depth + s.depth()                                     // of the element: 1 is the root
		if t.kind == startTag && t.name == includeName && at <= 4 { // not within what users have stored
			if err := f.include(name, s, t, at-1, files); err != nil {
				return err
			}
			continue
		}
		if f.out.token(t); f.out.err != nil {
			return f.out.err
		}
	}
}

// include writes another file in place of an <include/>.
func (f *flattener) include(name string, s *scanner, t token, depth, files int) error {
	href := attr(t, "href")
	to := path.Join(path.Dir(name), href)
	switch {
	case attr(t, "parse") != "" || attr(t, "xpointer") != "":
		return s.fail("an <include> with 'parse' or 'xpointer', which is not supported")
	case href == "" || strings.ContainsAny(href, ":?#\\") || path.IsAbs(href) || !fs.ValidPath(to):
		return s.fail("an <include> of %.100q, which is no file beside this one", href)
	case files+1 >= maxIncludes:
		return s.fail("files include each other more than %d deep", maxIncludes)
	}
	if err := s.skip(); err != nil {
		return err
	}
	return f.file(to, depth, files+1)
}
