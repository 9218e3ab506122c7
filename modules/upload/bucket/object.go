package bucket

import (
	"context"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
)

// firstBytes are fetched when a file is opened: its head, and of most files all of it.
const firstBytes = 16 << 10

// An object is a file that is open. It fetches what is read, in one request as long as it is read in order.
type object struct {
	b     *Bucket
	ctx   context.Context
	key   string
	first []byte
	size  int64
	at    int64

	body  io.ReadCloser // from at on; nil: none was asked for
	watch *watcher      // of body
}

// Open returns the bytes of a file from its first on; fs.ErrNotExist if there is none. The caller closes it. ctx bounds
// all that is done with it.
func (b *Bucket) Open(ctx context.Context, name string) (io.ReadSeekCloser, error) {
	o := &object{b: b, ctx: ctx, key: b.key(name)}
	var err error
	for range tries {
		if err = o.open(); err == nil || !interrupted(err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// open fetches the first bytes.
func (o *object) open() error {
	w := watch(o.ctx)
	defer w.end()
	body, size, err := o.b.part(w.ctx, o.key, 0, firstBytes)
	if err != nil {
		if o.ctx.Err() == nil && w.ctx.Err() != nil {
			return silent
		}
		return err
	}
	defer body.Close()
	o.size = size
	o.first = make([]byte, min(size, firstBytes))
	for n := 0; n < len(o.first); {
		k, err := body.Read(o.first[n:])
		w.moved()
		if n += k; err != nil && n < len(o.first) {
			return explain(o.ctx, toRead, err)
		}
	}
	return nil
}

// part asks for the bytes of an object from one to another, the last excluded, and how many it has in all. Whoever
// passes 0 may get more than was asked for.
func (b *Bucket) part(ctx context.Context, key string, from, to int64) (body io.ReadCloser, size int64, err error) {
	var opts minio.GetObjectOptions
	if err := opts.SetRange(from, to-1); err != nil {
		return nil, 0, fs.ErrInvalid
	}
	body, info, header, err := b.store.GetObject(ctx, b.o.Bucket, key, opts)
	if err != nil {
		return nil, 0, explain(ctx, toRead, err)
	}
	said := header.Get("Content-Range") // RFC 9110 §14.4
	if said == "" && from == 0 && info.Size >= 0 {
		return body, info.Size, nil
	}
	rest, ok := strings.CutPrefix(said, "bytes "+strconv.FormatInt(from, 10)+"-")
	last, all, _ := strings.Cut(rest, "/")
	end, err1 := strconv.ParseInt(last, 10, 64)
	size, err2 := strconv.ParseInt(all, 10, 64)
	if !ok || err1 != nil || err2 != nil || size <= from || end != min(to, size)-1 {
		body.Close()
		return nil, 0, strange
	}
	return body, size, nil
}

// Seek implements io.Seeker. It asks for nothing.
func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	if offset != o.at {
		o.leave()
	}
	o.at = offset
	return offset, nil
}

// Read implements io.Reader. It goes on where a connection has broken.
func (o *object) Read(p []byte) (n int, err error) {
	switch {
	case o.at >= o.size:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	case o.at < int64(len(o.first)):
		n = copy(p, o.first[o.at:])
		o.at += int64(n)
		return n, nil
	}
	for range tries {
		n, err = o.fetch(p)
		o.at += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		if o.leave(); !interrupted(err) {
			break
		}
	}
	return 0, err
}

// fetch reads some bytes, and says why where there are none.
func (o *object) fetch(p []byte) (n int, err error) {
	if o.body == nil {
		o.watch = watch(o.ctx)
		body, size, err := o.b.part(o.watch.ctx, o.key, o.at, o.size)
		if err == nil && size != o.size {
			body.Close()
			err = strange
		}
		if err != nil {
			if o.ctx.Err() == nil && o.watch.ctx.Err() != nil {
				err = silent
			}
			o.watch.end()
			return 0, err
		}
		o.body = body
	}
	o.watch.moved()
	n, err = o.body.Read(p[:min(int64(len(p)), o.size-o.at)])
	o.watch.still() // until whoever reads wants more
	if n == 0 && err != nil {
		err = explain(o.ctx, toRead, err)
	}
	return n, err
}

// leave lets go of what was asked for.
func (o *object) leave() {
	if o.body != nil {
		o.watch.end()
		o.body.Close()
		o.body, o.watch = nil, nil
	}
}

// Close implements io.Closer.
func (o *object) Close() error {
	o.leave()
	return nil
}
