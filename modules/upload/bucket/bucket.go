// Package bucket keeps files in a bucket of an object store that speaks S3, one object for each, of which the name in
// the bucket is a prefix and the name of the file.
//
// A file goes there by one signed request with the checksum of its bytes (Signature Version 4, X-Amz-Content-Sha256),
// so that the store takes the whole file or none of it, and no parts of files have to be looked for. It is streamed
// from and to where it goes. What is not answered is tried again, and given up when nothing moves for a while. Errors
// name neither the bucket nor anything in it, and hold no text of others.
//
// Left out: parts (multipart uploads), so that a file has less than 5 GiB; credentials from anywhere but the
// configuration; encryption by keys of our own.
package bucket

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// stall is how long is waited while no byte moves, patience for an answer to what is small.
	stall    = 30 * time.Second
	patience = 15 * time.Second
	// tries is how often something is asked for before it is given up.
	tries = 3
	// pageNames is how many names are listed at once.
	pageNames = 1000
)

// MaxFile is the largest object that one request can make.
const MaxFile = 5 << 30

// Styles of addresses.
const (
	StyleAuto = "auto" // host for those who are known to want it, else path
	StylePath = "path" // https://ENDPOINT/BUCKET/…
	StyleHost = "host" // https://BUCKET.ENDPOINT/…
)

// Options of New; all are needed but Prefix and Roots.
type Options struct {
	Host      string // HOST or HOST:PORT
	TLS       bool
	Roots     *x509.CertPool // nil: those of the system
	Bucket    string
	Region    string
	AccessKey string
	SecretKey string
	Prefix    string // of the names of objects; with a slash at its end, or ""
	Style     string
}

// A Bucket is safe for concurrent use.
type Bucket struct {
	o     Options
	store *minio.Core
}

// New returns the bucket, of which nothing is known yet.
func New(o Options) (*Bucket, error) {
	styles := map[string]minio.BucketLookupType{StyleAuto: minio.BucketLookupAuto, StylePath: minio.BucketLookupPath,
		StyleHost: minio.BucketLookupDNS}
	store, err := minio.NewCore(o.Host, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Secure: o.TLS, Region: o.Region,
		BucketLookup: styles[o.Style], MaxRetries: tries,
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			// What waits for its turn would look as if the store did not answer.
			MaxIdleConnsPerHost: 16, IdleConnTimeout: 20 * time.Second, TLSHandshakeTimeout: 5 * time.Second,
			ResponseHeaderTimeout: stall, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		}})
	if err != nil {
		return nil, errors.New("expected HOST or HOST:PORT and a region") // err may quote more than it should
	}
	return &Bucket{o, store}, nil
}

// key is what the bucket calls a file.
func (b *Bucket) key(name string) string { return b.o.Prefix + name }

// Put makes a file of the local one at a path, durably, as a whole or not at all. An error may come though it is there.
func (b *Bucket) Put(ctx context.Context, name, from string) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close() // it was only read
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err != nil {
		return err
	}
	return b.put(ctx, name, file, size, sum.Sum(nil))
}

func (b *Bucket) put(ctx context.Context, name string, body io.ReadSeeker, size int64, sum []byte) error {
	w := watch(ctx)
	defer w.end()
	_, err := b.store.PutObject(w.ctx, b.o.Bucket, b.key(name), &watched{body, w}, size, "", hex.EncodeToString(sum),
		minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true})
	return explain(ctx, toWrite, err)
}

// Has says which files are there.
func (b *Bucket) Has(ctx context.Context, names []string) ([]bool, error) {
	const atOnce = 8
	there, errs, turns := make([]bool, len(names)), make(chan error, len(names)), make(chan struct{}, atOnce)
	for i, name := range names {
		turns <- struct{}{}
		go func() {
			one, enough := context.WithTimeout(ctx, patience)
			_, err := b.store.StatObject(one, b.o.Bucket, b.key(name), minio.StatObjectOptions{})
			enough()
			err = explain(ctx, toRead, err)
			there[i] = err == nil
			<-turns
			errs <- err
		}()
	}
	var bad error
	for range names {
		if err := <-errs; err != nil && !errors.Is(err, fs.ErrNotExist) {
			bad = err
		}
	}
	return there, bad
}

// Remove removes files in this order and says how many; those that are not there are removed.
func (b *Bucket) Remove(ctx context.Context, names []string) (n int, err error) {
	for _, name := range names {
		one, enough := context.WithTimeout(ctx, patience)
		err := explain(ctx, toRemove, b.store.RemoveObject(one, b.o.Bucket, b.key(name), minio.RemoveObjectOptions{}))
		enough()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		n++
	}
	return n, nil
}

// Folders lists the folders that have files.
func (b *Bucket) Folders(ctx context.Context) (names []string, err error) {
	w := watch(ctx)
	defer w.end()
	for o := range b.store.ListObjectsIter(w.ctx, b.o.Bucket, minio.ListObjectsOptions{Prefix: b.o.Prefix}) {
		if o.Err != nil {
			return nil, explain(ctx, toList, o.Err)
		}
		if folder, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, b.o.Prefix), "/"); ok {
			names = append(names, folder)
		}
		w.moved()
	}
	return names, nil
}

// RemoveFolder removes all files of a folder.
func (b *Bucket) RemoveFolder(ctx context.Context, folder string) error {
	for {
		names, err := b.page(ctx, folder+"/", "")
		if err != nil || len(names) == 0 {
			return err
		}
		if _, err := b.Remove(ctx, names); err != nil {
			return err
		}
	}
}

// Walk calls f with the name of each file, and of what is there and none, until f fails.
func (b *Bucket) Walk(ctx context.Context, f func(name string) error) error {
	for after := ""; ; {
		names, err := b.page(ctx, "", after)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if strings.HasPrefix(path.Base(name), ".") {
				continue
			}
			if err := f(name); err != nil {
				return err
			}
		}
		after = names[len(names)-1]
	}
}

// page lists names that begin with something and come after another, of which there are none when it returns none.
func (b *Bucket) page(ctx context.Context, begin, after string) (names []string, err error) {
	w := watch(ctx)
	defer w.end()
	if after != "" {
		after = b.key(after)
	}
	for o := range b.store.ListObjectsIter(w.ctx, b.o.Bucket, minio.ListObjectsOptions{Prefix: b.key(begin),
		Recursive: true, StartAfter: after, MaxKeys: pageNames}) {
		if o.Err != nil {
			return nil, explain(ctx, toList, o.Err)
		}
		if names = append(names, strings.TrimPrefix(o.Key, b.o.Prefix)); len(names) == pageNames {
			break
		}
	}
	return names, nil
}

// Check tries all that is done with a bucket, with an object that it removes again. Notes say what an administrator
// should know besides.
func (b *Bucket) Check(ctx context.Context) (notes []string, err error) {
	if _, err := b.Folders(ctx); err != nil {
		return nil, err
	}
	word := rand.Text()
	name, sum := ".check-"+word, sha256.Sum256([]byte(word))
	if err := b.put(ctx, name, strings.NewReader(word), int64(len(word)), sum[:]); err != nil {
		return nil, err
	}
	read := b.reads(ctx, name, word)
	if _, err := b.Remove(ctx, []string{name}); err != nil {
		return nil, err
	}
	if read != nil {
		return nil, read
	}
	ctx, enough := context.WithTimeout(ctx, patience)
	defer enough()
	// Whoever may not ask, or asks a store that does not know the question, is told nothing.
	if v, err := b.store.GetBucketVersioning(ctx, b.o.Bucket); err == nil && v.Enabled() {
		notes = append(notes, "the bucket keeps versions: files that are removed, with their accounts as well, stay there; "+
			"suspend versioning, or let versions that are not current expire")
	}
	return notes, nil
}

// reads says whether a file can be read, and in parts.
func (b *Bucket) reads(ctx context.Context, name, want string) error {
	file, err := b.Open(ctx, name)
	if err != nil {
		return err
	}
	defer file.Close()
	all, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	half := len(want) / 2
	part, size, err := b.part(ctx, b.key(name), int64(half), int64(len(want)))
	if err != nil {
		return err
	}
	defer part.Close()
	rest, err := io.ReadAll(io.LimitReader(part, int64(len(want))))
	switch {
	case err != nil:
		return explain(ctx, toRead, err)
	case string(all) != want, string(rest) != want[half:], size != int64(len(want)):
		return &Error{What: "other bytes came back than were put there", refused: true,
			Do: "look at what is between this server and the object store"}
	}
	return nil
}

// A watcher ends its context when nothing has moved for as long as stall.
type watcher struct {
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer
}

func watch(ctx context.Context) *watcher {
	w := &watcher{}
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.timer = time.AfterFunc(stall, w.cancel)
	return w
}

func (w *watcher) moved() { w.timer.Reset(stall) }

// still stops the clock until something should move again.
func (w *watcher) still() { w.timer.Stop() }

func (w *watcher) end() {
	w.timer.Stop()
	w.cancel()
}

// A watched body moves as it is read. It is not an *os.File, which the client would take to pieces.
type watched struct {
	io.ReadSeeker
	w *watcher
}

// Read implements io.Reader.
func (b *watched) Read(p []byte) (int, error) {
	b.w.moved()
	n, err := b.ReadSeeker.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read what is to be stored: %w", err)
	}
	return n, err
}
