package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A file is what a journal needs of one; tests put failing ones here.
type file interface {
	Write([]byte) (int, error)
	Sync() error
	Close() error
}

func createFile(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// A journal is frames in a file: a group of writes each, written and made
// durable one after the other. Only the last frame of the last journal can be
// unfinished after a crash.
//
//	magic (4) | length of ops (4) | number of the frame (8) | CRC-32C of all else (4) | ops
type journal struct {
	path   string
	number uint64
	file   file
	size   int
	frames uint64
}

const (
	frameMagic  = "JDW1"
	frameHeader = 20
	filePrefix  = "journal-"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newJournal(dir string, number uint64, create func(string) (file, error)) (*journal, error) {
	path := filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, number))
	f, err := create(path)
	if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		f.Close() // the first error is the one to tell
		return nil, err
	}
	return &journal{path: path, number: number, file: f}, nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // it was only read
	return d.Sync()
}

// remove removes a journal for good: if it came back after a power cut without those that
// followed it, replaying it would undo what they did.
func remove(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// append makes a frame durable. frame begins with room for the header.
func (j *journal) append(frame []byte) error {
	j.frames++
	copy(frame, frameMagic)
	binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader))
	binary.BigEndian.PutUint64(frame[8:], j.frames)
	binary.BigEndian.PutUint32(frame[16:], frameSum(frame))
	j.size += len(frame)
	if _, err := j.file.Write(frame); err != nil {
		return err
	}
	return j.file.Sync()
}

func (j *journal) close() error { return j.file.Close() }

func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:16], castagnoli), castagnoli, frame[frameHeader:])
}

// replay calls f with the ops of each whole frame in the order they were written, and
// returns the journals found and the number of the last one.
func replay(dir string, f func(ops []byte) error) (paths []string, last uint64, err error) {
	files, err := os.ReadDir(dir) // sorted by name, and so by number
	if err != nil {
		return nil, 0, err
	}
	for _, entry := range files {
		if digits, ok := strings.CutPrefix(entry.Name(), filePrefix); ok {
			if last, err = strconv.ParseUint(digits, 16, 64); err != nil {
				return nil, 0, fmt.Errorf("read the name of journal %s: %w", entry.Name(), err)
			}
			paths = append(paths, filepath.Join(dir, entry.Name()))
		}
	}
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, 0, err
		}
		rest, frames, err := eachFrame(data, f)
		if err != nil {
			return nil, 0, fmt.Errorf("replay %s: %w", path, err)
		}
		// A crash leaves at most one frame unfinished, at the very end. Anything else is
		// damage, and going on would lose what was acknowledged.
		if len(rest) > 0 && (i < len(paths)-1 || laterFrame(rest, frames+1)) {
			return nil, 0, fmt.Errorf("%s is damaged at byte %d; restore the directory from a backup", path, len(data)-len(rest))
		}
	}
	return paths, last, nil
}

// eachFrame calls f with the frames at the start of data, and returns what follows them.
func eachFrame(data []byte, f func(ops []byte) error) (rest []byte, frames uint64, err error) {
	for {
		frame := wholeFrame(data)
		if frame == nil || binary.BigEndian.Uint64(frame[8:]) != frames+1 {
			return data, frames, nil
		}
		frames++
		// The memory table keeps slices of what f gets.
		if err := f(slices.Clone(frame[frameHeader:])); err != nil {
			return data, frames, err
		}
		data = data[len(frame):]
	}
}

// wholeFrame is the frame at the start of data, or nil if there is none or its checksum is wrong.
func wholeFrame(data []byte) []byte {
	if len(data) < frameHeader || string(data[:4]) != frameMagic {
		return nil
	}
	n := int(binary.BigEndian.Uint32(data[4:]))
	if n > len(data)-frameHeader {
		return nil
	}
	frame := data[:frameHeader+n]
	if binary.BigEndian.Uint32(frame[16:]) != frameSum(frame) {
		return nil
	}
	return frame
}

// laterFrame says whether a whole frame with a number above bad lies anywhere in data.
func laterFrame(data []byte, bad uint64) bool {
	for i := 1; i < len(data); i++ {
		next := bytes.Index(data[i:], []byte(frameMagic))
		if next < 0 {
			return false
		}
		i += next
		if frame := wholeFrame(data[i:]); frame != nil && binary.BigEndian.Uint64(frame[8:]) > bad {
			return true
		}
	}
	return false
}
