package upload

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// letters are what ids are written in: they read the same in any case and need no escapes.
var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	hourBytes = 4
	idBytes   = hourBytes + 16 // 128 random bits
	idLetters = idBytes * 8 / 5
	// gone marks the hour in an id as that at whose end the file goes, instead of that in which its slot was given.
	gone = 1 << 31
)

// newID returns the id of a slot's file, which says in which folder it is.
func newID(sl *slot) string {
	var b [idBytes]byte
	hour := uint32(sl.created.Unix() / 3600)
	if !sl.until.IsZero() {
		hour = uint32(sl.until.Unix()/3600) | gone
	}
	binary.BigEndian.PutUint32(b[:], hour)
	rand.Read(b[hourBytes:]) // never fails
	return letters.EncodeToString(b[:])
}

// folder is where the file of an id is; ok is false for what is no id.
func folder(id string) (name string, ok bool) {
	if len(id) != idLetters {
		return "", false
	}
	b, err := letters.DecodeString(id)
	if err != nil || len(b) != idBytes { // the decoder passes over line ends
		return "", false
	}
	hour := binary.BigEndian.Uint32(b)
	if hour&gone != 0 {
		return untilPrefix + strconv.FormatUint(uint64(hour&^gone), 10), true
	}
	return strconv.FormatUint(uint64(hour), 10), true
}

// untilPrefix begins the names of folders for the hour at whose end their files go.
const untilPrefix = "until-"

// about is what is known of a file; it stands before its bytes.
type about struct {
	Owner   string    `json:"owner"`
	Name    string    `json:"name"`
	Type    string    `json:"type"`
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
	Until   time.Time `json:"until,omitzero"`
}

// magic begins every file; then come the length of the head, four bytes, and the head.
const (
	magic     = "jackdaw-file\x00v1\n"
	headBytes = 64 << 10 // no head is longer
)

func (a *about) head() ([]byte, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32([]byte(magic), uint32(len(text))), text...), nil
}

// A stored file is open. Its bytes come after its head.
type stored struct {
	about
	file io.ReadSeekCloser
	from int64
	// summed: a checksum comes after its bytes.
	summed bool
}

func (f *stored) Close() error { return f.file.Close() }

func (f *stored) content() io.ReadSeeker { return &content{file: f.file, from: f.from, size: f.Size} }

// A content is the bytes between the head and the checksum of a file, which nobody else reads meanwhile.
type content struct {
	file           io.ReadSeeker
	from, size, at int64
	ready          bool // the file is where the next bytes are
}

// Read implements io.Reader.
func (c *content) Read(b []byte) (int, error) {
	if c.at >= c.size {
		return 0, io.EOF
	}
	if !c.ready {
		if _, err := c.file.Seek(c.from+c.at, io.SeekStart); err != nil {
			return 0, err
		}
		c.ready = true
	}
	n, err := c.file.Read(b[:min(int64(len(b)), c.size-c.at)])
	c.at += int64(n)
	if err == io.EOF && c.at < c.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Seek implements io.Seeker.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	c.ready = c.ready && c.at == offset
	c.at = offset
	return offset, nil
}

// errDamaged: a file is not as it was written.
var errDamaged = errors.New("the file is damaged")

// open returns a file whose time has not come; fs.ErrNotExist if there is none. The caller closes it.
func (s *Service) open(ctx context.Context, id string) (*stored, error) {
	name, ok := nameOf(id)
	if !ok {
		return nil, fs.ErrNotExist
	}
	file, err := s.store.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	f := &stored{file: file}
	if err = f.readHead(); err == nil {
		now := time.Now()
		keep := s.o.Settings().Keep
		if keep > 0 && !now.Before(f.Created.Add(keep)) || !f.Until.IsZero() && !now.Before(f.Until) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return f, nil
}

func (f *stored) readHead() error {
	length, err := f.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var start [len(magic) + 4]byte
	if _, err := io.ReadFull(f.file, start[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(start[len(magic):])
	if !bytes.HasPrefix(start[:], []byte(magic)) || n > headBytes {
		return errDamaged
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(f.file, text); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &f.about); err != nil {
		return errDamaged
	}
	f.from = int64(len(start)) + int64(n)
	more := length - f.from - f.Size
	if f.summed = more == sumBytes; f.Size < 0 || !f.summed && more != 0 {
		return errDamaged
	}
	return nil
}

// write puts what is sent for a slot into an unfinished file, which is on disk when it returns. On an error it leaves
// nothing.
func (s *Service) write(sl *slot, kind string, body io.Reader) (name string, err error) {
	if err := os.MkdirAll(s.unfinished(), 0o700); err != nil {
		return "", err
	}
	at := filepath.Join(s.unfinished(), s.own+sl.id)
	file, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			os.Remove(at) // else the next start does
		}
	}()
	a := about{Owner: sl.owner.String(), Name: sl.name, Type: kind, Size: sl.size,
		Created: sl.created.UTC().Truncate(time.Second), Until: sl.until}
	head, err := a.head()
	if err != nil {
		return "", err
	}
	out := &summing{Writer: file}
	if _, err := out.Write(head); err != nil {
		return "", err
	}
	if err := copyAll(out, body, sl.size); err != nil {
		return "", err
	}
	if _, err := file.Write(binary.BigEndian.AppendUint32(nil, out.sum)); err != nil {
		return "", err
	}
	return at, file.Sync()
}

// errBody wraps what went wrong with a client rather than with the disk.
type errBody struct{ error }

func (e errBody) Unwrap() error { return e.error }

// copyAll copies exactly n bytes.
func copyAll(to io.Writer, body io.Reader, n int64) error {
	buf := make([]byte, min(n, 64<<10))
	for n > 0 {
		k, err := body.Read(buf[:min(n, int64(len(buf)))])
		if _, bad := to.Write(buf[:k]); bad != nil {
			return bad
		}
		if n -= int64(k); err != nil && n > 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return errBody{err}
		}
	}
	return nil
}
