package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// An Owner is the user that the server runs as. nil is whoever runs the command.
type Owner struct {
	Name     string
	uid, gid int
}

// FindOwner looks a user up. The error says how to make one.
func FindOwner(name string) (*Owner, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("there is no user %s for the server to run as: make it (useradd --system --user-group %s), "+
			"or name another with --user; nothing was changed", name, name)
	}
	o := &Owner{Name: name}
	if o.uid, err = strconv.Atoi(u.Uid); err == nil {
		o.gid, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		return nil, fmt.Errorf("user %s has no number: %w", name, err)
	}
	return o, nil
}

// share lets the owner's group read a file or directory.
func (o *Owner) share(path string) error {
	if o == nil {
		return nil
	}
	if err := os.Chown(path, -1, o.gid); err != nil {
		return fmt.Errorf("let %s read %s: %w", o.Name, path, err)
	}
	return nil
}

// MakeData makes the directory of the data with mode 0700, the owner's. One that is there stays as it is.
func (o *Owner) MakeData(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil && o != nil {
		err = os.Chown(dir, o.uid, o.gid)
	}
	if err != nil {
		return fmt.Errorf("make the data directory: %w; choose another with --data", err)
	}
	return nil
}

// OwnerName is the user whose a directory is, "" where it is not there.
func OwnerName(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	id := strconv.Itoa(int(s.Uid))
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
