package server

import (
	"fmt"
	"os"
	osuser "os/user"
	"strconv"
	"syscall"
)

// An Owner is the user and the group that a directory belongs to.
type Owner struct{ UID, GID int }

// OwnerOf returns the owner of a directory; ok is false where the directory is not there.
func OwnerOf(path string) (o Owner, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return Owner{}, false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Owner{}, false
	}
	return Owner{int(s.Uid), int(s.Gid)}, true
}

// ActAsOwner gives root's rights up, for good, in favour of the owner of the data directory, so that what a command
// creates there is not closed to the server. It does nothing for other users, and for a directory that is root's or not
// there.
func ActAsOwner(data string) error {
	o, ok := OwnerOf(data)
	if os.Geteuid() != 0 || !ok || o.UID == 0 {
		return nil
	}
	// Certificates may be readable by one of the owner's other groups.
	groups := []int{o.GID}
	if u, err := osuser.LookupId(strconv.Itoa(o.UID)); err == nil {
		ids, err := u.GroupIds()
		if err == nil {
			groups = nil
			for _, id := range ids {
				if n, err := strconv.Atoi(id); err == nil {
					groups = append(groups, n)
				}
			}
		}
	}
	err := syscall.Setgroups(groups)
	if err == nil {
		err = syscall.Setgid(o.GID)
	}
	if err == nil {
		err = syscall.Setuid(o.UID)
	}
	if err != nil {
		return fmt.Errorf("act as the owner of %s (user %d): %w; run the command as that user", data, o.UID, err)
	}
	return nil
}
