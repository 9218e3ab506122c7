package portable

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

// prosodyFiles are its files: HOST/STORE/USER.dat with one value, USER.list with many.
type prosodyFiles struct {
	dir  fs.FS
	read func(int64)
}

// hosts are the directories with accounts, and those with rooms.
func (f prosodyFiles) hosts() (hosts, rooms []string, err error) {
	entries, err := fs.ReadDir(f.dir, ".")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name, err := url.PathUnescape(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		if _, err := fs.Stat(f.dir, path.Join(e.Name(), "accounts")); err == nil {
			hosts = append(hosts, name)
		}
		if _, err := fs.Stat(f.dir, path.Join(e.Name(), "persistent.dat")); err == nil {
			rooms = append(rooms, name)
		}
	}
	return hosts, rooms, nil
}

// escaped is a name as Prosody names files: all but letters and digits (of stores also but _) by number.
func escaped(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func (f prosodyFiles) path(host, store, user, kind string) string {
	store = strings.ReplaceAll(escaped(store), "%5f", "_")
	if user == "" {
		return path.Join(escaped(host), store+kind)
	}
	return path.Join(escaped(host), store, escaped(user)+kind)
}

// users are those with a file in a store.
func (f prosodyFiles) users(host, store string) (users []string, err error) {
	entries, err := fs.ReadDir(f.dir, path.Join(escaped(host), store))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".dat"); ok {
			if name, err := url.PathUnescape(name); err == nil {
				users = append(users, name)
			}
		}
	}
	slices.Sort(users)
	return users, err
}

// stores are those of a host whose names begin so.
func (f prosodyFiles) stores(host, prefix string) (stores []string) {
	entries, _ := fs.ReadDir(f.dir, escaped(host)) // the accounts in it have been read
	for _, e := range entries {
		if name, err := url.PathUnescape(e.Name()); err == nil && e.IsDir() && strings.HasPrefix(name, prefix) {
			stores = append(stores, name)
		}
	}
	return stores
}

// file calls f with a file, if there is one.
func (f prosodyFiles) file(name string, use func(*luaReader) error) error {
	in, err := f.dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close() // it was only read
	if err := use(newLuaReader(&counted{in, f.read})); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// one returns what a store has of a user, or without user of the host; nothing if there is none.
func (f prosodyFiles) one(host, store, user string) (v value, err error) {
	err = f.file(f.path(host, store, user, ".dat"), func(r *luaReader) (err error) {
		v, _, err = r.returned()
		return err
	})
	return v, err
}

// each calls use with each that a store has of a user.
func (f prosodyFiles) each(host, store, user string, use func(value) error) error {
	return f.file(f.path(host, store, user, ".list"), func(r *luaReader) error { return r.items(use) })
}
