package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/modules/upload"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/storage/redis"
)

// ErrNoData is the answer to whoever asks for what is kept where nothing is kept.
var ErrNoData = errors.New("there is no data yet: start the server first, " +
	"or give the command the server's --config or --data")

// holdsData says whether the embedded store is in a data directory.
func holdsData(cfg *config.Config) bool {
	_, err := os.Stat(storePath(cfg))
	return cfg.Storage.Engine != config.EngineEmbedded || !errors.Is(err, os.ErrNotExist)
}

func storePath(cfg *config.Config) string { return filepath.Join(cfg.Data, "store") }

// OpenStore opens the engine that the configuration names. The data directory is
// made if it is not there, with mode 0700.
func OpenStore(ctx context.Context, cfg *config.Config) (storage.Engine, error) {
	return openStore(ctx, cfg, nil, embedded.Options{})
}

// openStore is OpenStore for a node, if it is one.
func openStore(ctx context.Context, cfg *config.Config, n *nodes, o embedded.Options) (storage.Engine, error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w; create it or choose another with 'data:' or --data", err)
	}
	return openEngine(ctx, cfg, n, o)
}

func openEngine(ctx context.Context, cfg *config.Config, n *nodes, o embedded.Options) (storage.Engine, error) {
	if cfg.Storage.Engine == config.EngineEmbedded {
		return embedded.OpenWith(storePath(cfg), o)
	}
	r, err := redisOptions(cfg.Storage.Redis)
	if err != nil {
		return nil, err
	}
	// Files and certificates lie here, too; the embedded store does this for itself.
	if err := storage.SyncPath(cfg.Data); err != nil {
		return nil, fmt.Errorf("make the name of the data directory durable: %w", err)
	}
	r.Log = o.Log
	if n != nil {
		r.Homes = n
	}
	return redis.Open(ctx, r)
}

// redisOptions reads the files that the configuration names.
func redisOptions(r config.Redis) (o redis.Options, err error) {
	place, err := r.Place()
	if err != nil {
		return o, fmt.Errorf("read storage.redis.url: %w", err)
	}
	o = redis.Options{Addrs: place.Addrs, Unix: place.Unix, MasterName: r.MasterName, Username: place.Username,
		DB: place.DB, Prefix: r.Prefix, WaitReplicas: r.WaitReplicas}
	if o.Password, err = r.Secret(); err == nil && place.TLS {
		o.TLS, err = redis.TLSFiles(r.TLS).Load()
	}
	return o, err
}

// Verify returns what is damaged in the data directory, in words: in the embedded store, and in the files of users.
func Verify(cfg *config.Config) (problems []string, err error) {
	if cfg.Storage.Engine != config.EngineEmbedded {
		return nil, errors.New("only the embedded store can be verified; Redis has its own tools")
	}
	if problems, err = embedded.Verify(storePath(cfg)); err != nil {
		return nil, err
	}
	files, err := upload.Verify(filesDir(cfg))
	if err != nil || !cfg.Modules.Upload.S3.On() {
		return append(problems, files...), err
	}
	bucket, err := fileBucket(cfg)
	if err != nil {
		return nil, err
	}
	objects, err := upload.VerifyStore(context.Background(), bucket, func(name string) string {
		return "in the bucket: " + name
	})
	return slices.Concat(problems, files, objects), err
}

// listeners are the open sockets of a server; opened all or none.
type listeners struct{ all []net.Listener }

func (l *listeners) close() {
	for _, ln := range l.all {
		ln.Close() // it may be closed already
	}
}

// open listens on each address: HOST:PORT, or unix:PATH.
func (l *listeners) open(what string, addrs []string) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addrs {
		ln, err := listen(a)
		if err != nil {
			return nil, fmt.Errorf("listen for %s on %s: %w; is another server running? "+
				"Change 'listen.%s' in the configuration", what, a, cause(err), what)
		}
		l.all = append(l.all, ln)
		out = append(out, ln)
	}
	return out, nil
}

func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func listen(addr string) (net.Listener, error) {
	path, unix := strings.CutPrefix(addr, "unix:")
	if !unix {
		return net.Listen("tcp", addr)
	}
	// A socket that a killed server left behind is in the way of the next one; one
	// that answers is not ours to take.
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another program answers on %s", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		os.Remove(path) // if that does not work, listening says why
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Programs of the owner and the group may post; they still authenticate.
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}
